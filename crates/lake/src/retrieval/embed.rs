//! Texts to vectors whose inner product says how alike their meaning is.

use std::fmt;

use half::f16;
use safetensors::{Dtype, SafeTensors};
use tokenizers::Tokenizer;

use crate::LakeError;

/// Turns a text into a vector of length 1, or 0 where it says nothing. The same
/// text gives the same bits, whatever was embedded before.
pub trait Embedder: fmt::Debug + Send + Sync {
    /// Returns the vector of a text.
    ///
    /// # Errors
    /// Fails when the tokenizer does not accept the text.
    fn embed(&self, text: &str) -> Result<Vec<f32>, LakeError>;
}

/// One vector per token; a text is the mean of its tokens.
pub(super) struct StaticEmbedder {
    tokenizer: Tokenizer,
    /// Row by row, in half precision as they come: 16 MB instead of 32.
    rows: Vec<f16>,
    width: usize,
}

impl StaticEmbedder {
    /// Reads a table of token vectors (safetensors, half precision) and its tokenizer.
    ///
    /// # Errors
    /// Returns in words what is wrong with either.
    pub(super) fn new(weights: &[u8], tokenizer: &[u8]) -> Result<Self, String> {
        let tensors = SafeTensors::deserialize(weights).map_err(|e| format!("weights: {e}"))?;
        let table = tensors.tensor("embedding.weight").map_err(|e| format!("weights: {e}"))?;
        let (&[count, width], Dtype::F16) = (table.shape(), table.dtype()) else {
            let (shape, dtype) = (table.shape(), table.dtype());
            return Err(format!(
                "weights: embedding.weight is {dtype:?} {shape:?}, not F16 [n, m]"
            ));
        };
        if count == 0 || width == 0 {
            return Err("weights: embedding.weight is empty".to_owned());
        }
        let (pairs, _) = table.data().as_chunks::<2>();
        let rows: Vec<f16> = pairs.iter().map(|pair| f16::from_le_bytes(*pair)).collect();
        if !rows.iter().all(|value| value.is_finite()) {
            return Err("weights: embedding.weight holds a value that is not finite".to_owned());
        }
        let tokenizer = Tokenizer::from_bytes(tokenizer).map_err(|e| format!("tokenizer: {e}"))?;
        Ok(Self { tokenizer, rows, width })
    }
}

impl Embedder for StaticEmbedder {
    fn embed(&self, text: &str) -> Result<Vec<f32>, LakeError> {
        let tokens = self
            .tokenizer
            .encode_fast(text, false)
            .map_err(|e| LakeError::Embed { reason: e.to_string() })?;
        let last = self.rows.len() / self.width - 1;
        let mut sum = vec![0.0; self.width];
        for &token in tokens.get_ids() {
            // A token beyond the table counts as its last row, as in the package.
            let row = (token as usize).min(last) * self.width;
            for (sum, value) in sum.iter_mut().zip(&self.rows[row..row + self.width]) {
                *sum += value.to_f32();
            }
        }
        // The mean points where the sum does.
        normalize(&mut sum);
        Ok(sum)
    }
}

impl fmt::Debug for StaticEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = self.rows.len() / self.width;
        f.debug_struct("StaticEmbedder").field("tokens", &tokens).finish_non_exhaustive()
    }
}

/// Brings a vector to length 1, unless it is zero.
pub(super) fn normalize(vector: &mut [f32]) {
    let length = dot(vector, vector).sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value /= length);
    }
}

/// Returns the inner product, summed in a fixed order: eight sums side by side,
/// which compilers turn into vector instructions, then those from left to right.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
pub(super) mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    /// A tokenizer of whole words with one vector each: `up`, `down` and the rest.
    pub(crate) fn three_words() -> (Vec<u8>, Vec<u8>) {
        let tokenizer = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],
            "normalizer":null,"pre_tokenizer":{"type":"Whitespace"},"post_processor":null,
            "decoder":null,
            "model":{"type":"WordLevel","vocab":{"up":0,"down":1,"?":2},"unk_token":"?"}}"#;
        let values = [3.0, 0.0, 0.0, 4.0, 0.0, 0.0].map(f16::from_f32);
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let table = TensorView::new(Dtype::F16, vec![3, 2], &bytes).unwrap();
        let weights = safetensors::serialize([("embedding.weight", table)], None).unwrap();
        (weights, tokenizer.into())
    }

    #[test]
    fn a_text_is_the_direction_of_the_sum_of_its_tokens() {
        let (weights, tokenizer) = three_words();
        let embedder = StaticEmbedder::new(&weights, &tokenizer).unwrap();
        for (text, expected) in [
            ("up", [1.0, 0.0]),
            ("up down", [0.6, 0.8]),
            ("up down and so on", [0.6, 0.8]),
            ("sideways", [0.0, 0.0]),
            ("", [0.0, 0.0]),
        ] {
            assert_eq!(embedder.embed(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn weights_of_another_form_are_refused_in_words() {
        let (weights, tokenizer) = three_words();
        let error =
            |weights: &[u8], tokenizer: &[u8]| StaticEmbedder::new(weights, tokenizer).unwrap_err();
        assert!(error(b"none", &tokenizer).starts_with("weights: "));
        assert!(error(&weights, b"none").starts_with("tokenizer: "));
        let table = TensorView::new(Dtype::U8, vec![2], &[0, 0]).unwrap();
        let other = safetensors::serialize([("embedding.weight", table)], None).unwrap();
        assert_eq!(
            error(&other, &tokenizer),
            "weights: embedding.weight is U8 [2], not F16 [n, m]"
        );
    }

    #[test]
    fn inner_products_are_exact_on_any_length() {
        let a: Vec<f32> = (0..19u8).map(f32::from).collect();
        let expected: f32 = (0..19u16).map(|i| f32::from(i * i)).sum();
        assert_eq!(dot(&a, &a), expected);
        assert_eq!(dot(&[], &[]), 0.0);
    }
}
