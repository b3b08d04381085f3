//! The shape of a model: what its GGUF header says.

use super::{
    EngineError,
    ggml::{GgufFile, Kind, Rope, TensorInfo},
};

/// Architectures gradients are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Llama and SmolLM2: neighbouring dimensions rotate, one head norm less.
    Llama,
    /// Qwen3: halves rotate, queries and keys are normed per head.
    Qwen3,
}

impl Architecture {
    /// All architectures.
    pub const ALL: [Self; 2] = [Self::Llama, Self::Qwen3];

    /// Returns the name in GGUF headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen3 => "qwen3",
        }
    }
}

/// Dimensions of a dense transformer with grouped-query attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Architecture.
    pub architecture: Architecture,
    /// Number of layers.
    pub layers: usize,
    /// Numbers a token is represented by between layers.
    pub width: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Numbers of a head.
    pub head: usize,
    /// Numbers inside the feed-forward network.
    pub feed_forward: usize,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Whether the output matrix is the embedding matrix.
    pub is_tied: bool,
    /// What keeps the root mean square away from zero.
    pub epsilon: f32,
    /// Base of the rotary frequencies.
    pub rope_base: f32,
}

/// The seven matrices of a layer an adapter works on.
pub const TARGETS: [&str; 7] =
    ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];

/// Factors of the rotary frequencies, in files of some Llama models.
pub(crate) const ROPE_FACTORS: &str = "rope_freqs.weight";

impl Shape {
    /// Returns the rotary embedding.
    pub fn rope(&self) -> Rope {
        Rope {
            dimensions: self.head,
            base: self.rope_base,
            is_neox: self.architecture == Architecture::Qwen3,
        }
    }

    /// Returns name and shape of every tensor, in the order of llama.cpp's files. A
    /// vector has one row.
    pub fn tensors(&self) -> Vec<(String, [usize; 2])> {
        let (d, ff) = (self.width, self.feed_forward);
        let (q, kv) = (self.heads * self.head, self.kv_heads * self.head);
        let mut all = vec![("token_embd.weight".to_owned(), [d, self.vocabulary])];
        for layer in 0..self.layers {
            let mut add = |name: &str, shape| all.push((layer_tensor(layer, name), shape));
            add("attn_norm", [d, 1]);
            add("attn_q", [d, q]);
            add("attn_k", [d, kv]);
            add("attn_v", [d, kv]);
            add("attn_output", [q, d]);
            if self.architecture == Architecture::Qwen3 {
                add("attn_q_norm", [self.head, 1]);
                add("attn_k_norm", [self.head, 1]);
            }
            add("ffn_norm", [d, 1]);
            add("ffn_gate", [d, ff]);
            add("ffn_up", [d, ff]);
            add("ffn_down", [ff, d]);
        }
        all.push(("output_norm.weight".to_owned(), [d, 1]));
        if !self.is_tied {
            all.push(("output.weight".to_owned(), [d, self.vocabulary]));
        }
        all
    }

    /// Reads the shape of a model and checks that the file holds the tensors it
    /// implies and no others: what is not understood would be left out of the sum.
    ///
    /// # Errors
    /// Names the field or tensor that is missing, unknown or not supported.
    pub fn read(file: &GgufFile) -> Result<Self, EngineError> {
        let refuse = |detail: String| EngineError::gguf(file.path(), detail);
        let found = file.text("general.architecture").unwrap_or_default();
        let architecture =
            Architecture::ALL.into_iter().find(|known| known.name() == found).ok_or_else(|| {
                refuse(format!("general.architecture is {found:?}; train over llama or qwen3"))
            })?;
        let key = |field: &str| format!("{}.{field}", architecture.name());
        let integer = |field: &str| file.u32(&key(field)).map(|n| n as usize);
        let needed = |field: &str| {
            integer(field).ok_or_else(|| refuse(format!("{} is missing", key(field))))
        };
        let heads = needed("attention.head_count")?;
        let width = needed("embedding_length")?;
        let head = integer("attention.key_length").unwrap_or(width / heads.max(1));
        let embedding = file.tensor("token_embd.weight");
        let shape = Self {
            architecture,
            layers: needed("block_count")?,
            width,
            heads,
            kv_heads: integer("attention.head_count_kv").unwrap_or(heads),
            head,
            feed_forward: needed("feed_forward_length")?,
            vocabulary: embedding
                .ok_or_else(|| refuse("token_embd.weight is missing".to_owned()))?
                .shape[1],
            is_tied: file.tensor("output.weight").is_none(),
            epsilon: file
                .f32(&key("attention.layer_norm_rms_epsilon"))
                .ok_or_else(|| refuse(key("attention.layer_norm_rms_epsilon") + " is missing"))?,
            rope_base: file.f32(&key("rope.freq_base")).unwrap_or(10_000.0),
        };
        let scaling = file.text(&key("rope.scaling.type")).filter(|kind| kind != "none");
        if let Some(kind) = scaling {
            return Err(refuse(format!("rope.scaling.type {kind:?} is not supported")));
        }
        if integer("rope.dimension_count").unwrap_or(head) != head
            || integer("attention.value_length").unwrap_or(head) != head
            || shape.kv_heads == 0
            || !heads.is_multiple_of(shape.kv_heads)
        {
            return Err(refuse("heads of several sizes are not supported".to_owned()));
        }
        shape.check_tensors(file)?;
        Ok(shape)
    }

    fn check_tensors(&self, file: &GgufFile) -> Result<(), EngineError> {
        let refuse = |detail: String| Err(EngineError::gguf(file.path(), detail));
        let expected = self.tensors();
        for (name, shape) in &expected {
            match file.tensor(name) {
                None => return refuse(format!("tensor {name} is missing")),
                Some(found) if found.shape != *shape => {
                    let found = found.shape;
                    return refuse(format!("tensor {name} is {found:?}, expected {shape:?}"));
                }
                Some(found) => self.check_kind(file, found)?,
            }
        }
        let is_known =
            |name: &str| name == ROPE_FACTORS || expected.iter().any(|(known, _)| known == name);
        match file.tensors().iter().find(|tensor| !is_known(&tensor.name)) {
            Some(unknown) => refuse(format!(
                "tensor {} is not part of a {} model this trainer knows",
                unknown.name,
                self.architecture.name()
            )),
            None => Ok(()),
        }
    }

    fn check_kind(&self, file: &GgufFile, tensor: &TensorInfo) -> Result<(), EngineError> {
        let is_vector = tensor.shape[1] == 1;
        let fits = match is_vector {
            true => tensor.kind == Kind::F32,
            false => Kind::WEIGHTS.contains(&tensor.kind),
        };
        match fits {
            true => Ok(()),
            false => {
                let (name, kind) = (&tensor.name, tensor.kind);
                let detail =
                    format!("tensor {name} is {kind:?}; convert the model to BF16 or Q8_0");
                Err(EngineError::gguf(file.path(), detail))
            }
        }
    }
}

/// Returns the name of a tensor of a layer.
pub(crate) fn layer_tensor(layer: usize, name: &str) -> String {
    format!("blk.{layer}.{name}.weight")
}
