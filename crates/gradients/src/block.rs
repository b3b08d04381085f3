//! One layer, forward and back.

use super::{
    ggml::{Graph, Rope, Tensor},
    linear::Linear,
    shape::Shape,
};

/// A layer: norms, attention, feed-forward network.
#[derive(Debug)]
pub(super) struct Block {
    /// `[width]`.
    pub(super) attention_norm: Tensor,
    /// `[width]`.
    pub(super) feed_forward_norm: Tensor,
    /// `[head]`, where the architecture norms queries and keys.
    pub(super) query_norm: Option<Tensor>,
    pub(super) key_norm: Option<Tensor>,
    pub(super) query: Linear,
    pub(super) key: Linear,
    pub(super) value: Linear,
    pub(super) output: Linear,
    pub(super) gate: Linear,
    pub(super) up: Linear,
    pub(super) down: Linear,
}

/// What tokens see of each other, the same for all layers.
#[derive(Debug, Clone)]
pub(super) struct Sight {
    /// `[tokens]`.
    pub(super) positions: Tensor,
    /// `[tokens, tokens]`: 0 where the query (row) sees the key, else minus infinity.
    pub(super) mask: Tensor,
    /// Divisors of the rotary frequencies, where a model has them.
    pub(super) rope_factors: Option<Tensor>,
}

/// What the way back reads of the way forward. `n` tokens, `g` query heads a key
/// head.
#[derive(Debug)]
pub(super) struct Saved {
    /// Input `[width, n]`.
    x: Tensor,
    /// Normed input `[width, n]`.
    normed: Tensor,
    /// Queries and keys before their norms `[head, heads, n]`, `[head, kv_heads, n]`.
    raw_query: Tensor,
    raw_key: Tensor,
    /// Rotated queries and keys, and values, a head after the other: `[head, n g,
    /// kv_heads]`, `[head, n, kv_heads]` twice.
    query: Tensor,
    key: Tensor,
    value: Tensor,
    /// Attention weights `[n, n, heads]`.
    weights: Tensor,
    /// What heads read `[heads head, n]`.
    read: Tensor,
    /// After attention `[width, n]`, and normed.
    middle: Tensor,
    normed_middle: Tensor,
    /// `[feed_forward, n]` each.
    gate: Tensor,
    up: Tensor,
    activation: Tensor,
    /// A x of the seven targets, in the order of [`super::shape::TARGETS`].
    low: [Tensor; 7],
}

impl Saved {
    /// Returns all of it.
    pub(super) fn all(&self) -> impl Iterator<Item = &Tensor> {
        let these = [
            &self.x,
            &self.normed,
            &self.raw_query,
            &self.raw_key,
            &self.query,
            &self.key,
            &self.value,
            &self.weights,
            &self.read,
            &self.middle,
            &self.normed_middle,
            &self.gate,
            &self.up,
            &self.activation,
        ];
        these.into_iter().chain(&self.low)
    }
}

/// `1 / sqrt(head)`, the scale of attention (Vaswani et al. 2017, arXiv:1706.03762).
#[allow(clippy::cast_precision_loss, reason = "a head has few numbers")]
fn attention_scale(shape: &Shape) -> f32 {
    (shape.head as f32).sqrt().recip()
}

/// `[head, heads, n] <-> [head, n, heads]`.
fn swap_heads(g: &Graph, x: &Tensor) -> Tensor {
    g.permute(x, [0, 2, 1])
}

impl Block {
    /// `x [width, n] -> [width, n]`.
    pub(super) fn forward(
        &self,
        g: &Graph,
        shape: &Shape,
        x: &Tensor,
        sight: &Sight,
    ) -> (Tensor, Saved) {
        let norm = |x: &Tensor, weight: &Tensor| g.mul(&g.rms_norm(x, shape.epsilon), weight);
        let (n, head) = (x.shape()[1], shape.head);
        let (heads, kv_heads) = (shape.heads, shape.kv_heads);
        let group = heads / kv_heads;
        let rope: Rope = shape.rope();

        let normed = norm(x, &self.attention_norm);
        let (q, low_q) = self.query.forward(g, &normed); // [heads head, n]
        let (k, low_k) = self.key.forward(g, &normed); // [kv_heads head, n]
        let (v, low_v) = self.value.forward(g, &normed);
        let raw_query = g.reshape(&q, [head, heads, n]);
        let raw_key = g.reshape(&k, [head, kv_heads, n]);
        let values = g.reshape(&v, [head, kv_heads, n]);
        let turn = |x: &Tensor, weight: Option<&Tensor>| {
            let x = weight.map_or_else(|| x.clone(), |weight| norm(x, weight));
            g.rope(&x, &sight.positions, sight.rope_factors.as_ref(), rope, false)
        };
        let query = swap_heads(g, &turn(&raw_query, self.query_norm.as_ref())); // [head, n, heads]
        // Query heads that share a key head become one matrix: no key is repeated.
        let query = g.reshape(&query, [head, n * group, kv_heads]);
        let key = swap_heads(g, &turn(&raw_key, self.key_norm.as_ref())); // [head, n, kv_heads]
        let value = swap_heads(g, &values);
        let scores = g.reshape(&g.mul_mat(&key, &query), [n, n, heads]);
        let weights = g.soft_max(&scores, Some(&sight.mask), attention_scale(shape));
        let across = g.permute(&values, [1, 2, 0]); // [n, head, kv_heads]
        let grouped = g.reshape(&weights, [n, n * group, kv_heads]);
        let read = g.mul_mat(&across, &grouped); // [head, n group, kv_heads]
        let read = swap_heads(g, &g.reshape(&read, [head, n, heads])); // [head, heads, n]
        let read = g.reshape(&read, [heads * head, n, 1]);
        let (attended, low_o) = self.output.forward(g, &read);
        let middle = g.add(&attended, x);

        let normed_middle = norm(&middle, &self.feed_forward_norm);
        let (gate, low_gate) = self.gate.forward(g, &normed_middle); // [feed_forward, n]
        let (up, low_up) = self.up.forward(g, &normed_middle);
        let activation = g.swiglu(&gate, &up);
        let (down, low_down) = self.down.forward(g, &activation);
        let y = g.add(&down, &middle);
        let saved = Saved {
            x: x.clone(),
            normed,
            raw_query,
            raw_key,
            query,
            key,
            value,
            weights,
            read,
            middle,
            normed_middle,
            gate,
            up,
            activation,
            low: [low_q, low_k, low_v, low_o, low_gate, low_up, low_down],
        };
        (y, saved)
    }

    /// Adds to the gradients of the adapter, and returns dx `[width, n]` for dy
    /// `[width, n]`; nothing for the first layer, whose input is not trained.
    pub(super) fn backward(
        &self,
        g: &Graph,
        shape: &Shape,
        saved: &Saved,
        sight: &Sight,
        dy: &Tensor,
        is_first: bool,
    ) -> Option<Tensor> {
        let epsilon = shape.epsilon;
        let norm_back = |dy: &Tensor, weight: &Tensor, x: &Tensor| {
            g.rms_norm_back(&g.mul(dy, weight), x, epsilon)
        };
        let [low_q, low_k, low_v, low_o, low_gate, low_up, low_down] = &saved.low;

        // y = middle + down(silu(gate) * up)
        let d_activation = self.down.backward(g, &saved.activation, low_down, dy);
        let d_up = g.mul(&d_activation, &g.silu(&saved.gate));
        let d_gate = g.silu_back(&g.mul(&d_activation, &saved.up), &saved.gate);
        let d_normed = g.add(
            &self.gate.backward(g, &saved.normed_middle, low_gate, &d_gate),
            &self.up.backward(g, &saved.normed_middle, low_up, &d_up),
        );
        let through_norm = norm_back(&d_normed, &self.feed_forward_norm, &saved.middle);
        let d_middle = g.add(dy, &through_norm);

        // middle = x + output(attention(norm(x)))
        let d_read = self.output.backward(g, &saved.read, low_o, &d_middle);
        let [d_query, d_key, d_value] = self.attention_back(g, shape, saved, sight, &d_read);
        if is_first {
            self.query.adapter_back(g, &saved.normed, low_q, &d_query);
            self.key.adapter_back(g, &saved.normed, low_k, &d_key);
            self.value.adapter_back(g, &saved.normed, low_v, &d_value);
            return None;
        }
        let d_normed = g.add(
            &g.add(
                &self.query.backward(g, &saved.normed, low_q, &d_query),
                &self.key.backward(g, &saved.normed, low_k, &d_key),
            ),
            &self.value.backward(g, &saved.normed, low_v, &d_value),
        );
        Some(g.add(&d_middle, &norm_back(&d_normed, &self.attention_norm, &saved.x)))
    }

    /// The gradients of queries, keys and values, `[heads head, n]` and twice
    /// `[kv_heads head, n]`, for that of what heads read.
    fn attention_back(
        &self,
        g: &Graph,
        shape: &Shape,
        saved: &Saved,
        sight: &Sight,
        d_read: &Tensor,
    ) -> [Tensor; 3] {
        let (n, head) = (d_read.shape()[1], shape.head);
        let (heads, kv_heads) = (shape.heads, shape.kv_heads);
        let group = heads / kv_heads;
        let d_read = swap_heads(g, &g.reshape(d_read, [head, heads, n]));
        let d_read = g.reshape(&d_read, [head, n * group, kv_heads]);

        // read = weights value
        let d_weights = g.reshape(&g.mul_mat(&saved.value, &d_read), [n, n, heads]);
        let weights = g.reshape(&saved.weights, [n, n * group, kv_heads]);
        let d_value = g.mul_mat(&g.transpose(&d_read), &g.transpose(&weights)); // [head, n, kv_heads]
        // weights = softmax(scale query key' + mask)
        let d_scores = g.soft_max_back(&d_weights, &saved.weights, attention_scale(shape));
        let d_scores = g.reshape(&d_scores, [n, n * group, kv_heads]);
        let d_query = g.mul_mat(&g.transpose(&saved.key), &d_scores); // [head, n group, kv_heads]
        let d_key = g.mul_mat(&g.transpose(&saved.query), &g.transpose(&d_scores));

        let flat = |x: &Tensor, heads: usize| g.reshape(x, [head * heads, n, 1]);
        let unturn = |dx: &Tensor, heads: usize, raw: &Tensor, weight: Option<&Tensor>| {
            let dx = swap_heads(g, &g.reshape(dx, [head, n, heads]));
            let factors = sight.rope_factors.as_ref();
            let dx = g.rope(&dx, &sight.positions, factors, shape.rope(), true);
            let dx = match weight {
                None => dx,
                Some(weight) => g.rms_norm_back(&g.mul(&dx, weight), raw, shape.epsilon),
            };
            flat(&dx, heads)
        };
        let value_back = swap_heads(g, &g.reshape(&d_value, [head, n, kv_heads]));
        [
            unturn(&d_query, heads, &saved.raw_query, self.query_norm.as_ref()),
            unturn(&d_key, kv_heads, &saved.raw_key, self.key_norm.as_ref()),
            flat(&value_back, kv_heads),
        ]
    }
}
