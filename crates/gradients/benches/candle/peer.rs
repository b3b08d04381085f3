//! The same model in candle, with its autograd.

use std::{fs::File, io::BufReader, path::Path};

use anyhow::Result;
use candle_core::{D, DType, Device, IndexOp as _, Tensor, Var, quantized::gguf_file::Content};
use candle_nn::{loss::cross_entropy, ops, rotary_emb};
use gradients::Shape;

use crate::Text;

/// A matrix and its adapter.
struct Linear {
    weight: Tensor,
    a: Var,
    b: Var,
    scale: f64,
}

struct Layer {
    attention_norm: Tensor,
    q: Linear,
    k: Linear,
    v: Linear,
    output: Linear,
    feed_forward_norm: Tensor,
    gate: Linear,
    up: Linear,
    down: Linear,
}

pub(crate) struct Model {
    shape: Shape,
    embedding: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
}

impl Linear {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let low = x.matmul(&self.a.as_tensor().t()?)?.matmul(&self.b.as_tensor().t()?)?;
        x.matmul(&self.weight.t()?)? + (low * self.scale)?
    }
}

impl Model {
    /// Reads a file of F32 matrices.
    pub(crate) fn load(path: &Path, shape: Shape, rank: usize, alpha: f32) -> Result<Self> {
        let mut reader = BufReader::new(File::open(path)?);
        let content = Content::read(&mut reader)?;
        let mut tensor = |name: &str| {
            let tensor = content.tensor(&mut reader, &format!("{name}.weight"), &Device::Cpu)?;
            tensor.dequantize(&Device::Cpu)
        };
        #[allow(clippy::cast_precision_loss, reason = "a small rank")]
        let scale = f64::from(alpha) / rank as f64;
        let (embedding, norm) = (tensor("token_embd")?, tensor("output_norm")?);
        let mut layers = Vec::with_capacity(shape.layers);
        for i in 0..shape.layers {
            let name = |part: &str| format!("blk.{i}.{part}");
            let mut linear = |part: &str| {
                let weight = tensor(&name(part))?;
                let (rows, columns) = weight.dims2()?;
                let a = Var::randn(0.0_f32, 0.02, (rank, columns), &Device::Cpu)?;
                let b = Var::zeros((rows, rank), DType::F32, &Device::Cpu)?;
                candle_core::Result::Ok(Linear { weight, a, b, scale })
            };
            let [q, k, v] = [linear("attn_q")?, linear("attn_k")?, linear("attn_v")?];
            let (output, gate) = (linear("attn_output")?, linear("ffn_gate")?);
            let (up, down) = (linear("ffn_up")?, linear("ffn_down")?);
            let attention_norm = tensor(&name("attn_norm"))?;
            let feed_forward_norm = tensor(&name("ffn_norm"))?;
            layers.push(Layer {
                attention_norm,
                q,
                k,
                v,
                output,
                feed_forward_norm,
                gate,
                up,
                down,
            });
        }
        Ok(Self { shape, embedding, layers, norm })
    }

    /// Computes the gradients of the mean loss of a text, and returns the loss.
    pub(crate) fn gradients(&self, text: &Text) -> Result<f64> {
        let loss = self.loss(text)?;
        loss.backward()?;
        Ok(f64::from(loss.to_scalar::<f32>()?))
    }

    fn loss(&self, text: &Text) -> candle_core::Result<Tensor> {
        let n = text.tokens.len();
        let tokens = Tensor::new(&text.tokens[..], &Device::Cpu)?;
        let targets = Tensor::new(&text.targets[..], &Device::Cpu)?;
        let mut x = self.embedding.index_select(&tokens, 0)?;
        let (rotation, mask) = (self.rotation(n)?, mask(n)?);
        for layer in &self.layers {
            x = (self.attention(layer, &x, &rotation, &mask)? + &x)?;
            let h = ops::rms_norm_slow(&x, &layer.feed_forward_norm, self.shape.epsilon)?;
            let h = (layer.gate.forward(&h)?.silu()? * layer.up.forward(&h)?)?;
            x = (layer.down.forward(&h)? + &x)?;
        }
        let x = ops::rms_norm_slow(&x, &self.norm, self.shape.epsilon)?;
        cross_entropy(&x.matmul(&self.embedding.t()?)?, &targets)
    }

    fn attention(
        &self,
        layer: &Layer,
        x: &Tensor,
        (cos, sin): &(Tensor, Tensor),
        mask: &Tensor,
    ) -> candle_core::Result<Tensor> {
        let Shape { heads, kv_heads, head, epsilon, .. } = self.shape;
        let n = x.dim(0)?;
        let h = ops::rms_norm_slow(x, &layer.attention_norm, epsilon)?;
        let split = |linear: &Linear, heads: usize| {
            linear.forward(&h)?.reshape((1, n, heads, head))?.transpose(1, 2)?.contiguous()
        };
        let q = rotary_emb::rope_i_slow(&split(&layer.q, heads)?, cos, sin)?;
        let k = rotary_emb::rope_i_slow(&split(&layer.k, kv_heads)?, cos, sin)?;
        let v = split(&layer.v, kv_heads)?;
        // Queries that share a head of keys are rows of one product.
        let grouped = (kv_heads, heads / kv_heads * n, head);
        let (q, k, v) = (q.reshape(grouped)?, k.i(0)?, v.i(0)?);
        #[allow(clippy::cast_precision_loss, reason = "a small size")]
        let scores = (q.matmul(&k.t()?)? / (head as f64).sqrt())?;
        let scores = scores.reshape((heads, n, n))?.broadcast_add(mask)?;
        let weights = ops::softmax(&scores, D::Minus1)?;
        let mixed = weights.reshape((kv_heads, heads / kv_heads * n, n))?.matmul(&v)?;
        let mixed = mixed.reshape((heads, n, head))?.transpose(0, 1)?;
        layer.output.forward(&mixed.reshape((n, heads * head))?)
    }

    fn rotation(&self, n: usize) -> candle_core::Result<(Tensor, Tensor)> {
        let Shape { head, rope_base, .. } = self.shape;
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        let frequency = |i: usize| 1.0 / rope_base.powf(2.0 * i as f32 / head as f32);
        let frequencies: Vec<f32> = (0..head / 2).map(frequency).collect();
        let frequencies = Tensor::from_vec(frequencies, (1, head / 2), &Device::Cpu)?;
        let positions = Tensor::arange(0, u32::try_from(n).unwrap_or(0), &Device::Cpu)?;
        let positions = positions.to_dtype(DType::F32)?.reshape((n, 1))?;
        let angles = positions.matmul(&frequencies)?;
        Ok((angles.cos()?, angles.sin()?))
    }
}

fn mask(n: usize) -> candle_core::Result<Tensor> {
    let hidden = |(i, j): (usize, usize)| if j > i { f32::NEG_INFINITY } else { 0.0 };
    let cells = (0..n).flat_map(|i| (0..n).map(move |j| (i, j)));
    Tensor::from_vec(cells.map(hidden).collect(), (n, n), &Device::Cpu)
}
