//! A small sentence transformer through candle: slower than static vectors by two
//! orders of magnitude, and better at what words alone do not say.

use std::fmt;

use candle_core::{Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config, DTYPE};
use tokenizers::{Tokenizer, TruncationParams};

use super::embed::{Embedder, normalize};
use crate::LakeError;

/// What the model was trained on; what follows in a text is not read.
const TOKENS_MAX: usize = 256;

/// The mean of the last hidden states of all tokens, as the model's authors use it.
pub(super) struct MiniLm {
    model: BertModel,
    tokenizer: Tokenizer,
}

impl MiniLm {
    /// Reads the weights (safetensors), the configuration and the tokenizer.
    ///
    /// # Errors
    /// Returns in words what is wrong with one of them.
    pub(super) fn new(weights: Vec<u8>, config: &[u8], tokenizer: &[u8]) -> Result<Self, String> {
        let config: Config =
            serde_json::from_slice(config).map_err(|e| format!("configuration: {e}"))?;
        let variables = VarBuilder::from_buffered_safetensors(weights, DTYPE, &Device::Cpu);
        let variables = variables.map_err(|e| format!("weights: {e}"))?;
        let model = BertModel::load(variables, &config).map_err(|e| format!("weights: {e}"))?;
        let mut tokenizer =
            Tokenizer::from_bytes(tokenizer).map_err(|e| format!("tokenizer: {e}"))?;
        let truncation = TruncationParams { max_length: TOKENS_MAX, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(|e| format!("tokenizer: {e}"))?;
        // One text at a time, so that no text depends on the length of another.
        tokenizer.with_padding(None);
        Ok(Self { model, tokenizer })
    }

    /// Returns the hidden state of each token.
    fn states(&self, tokens: &[u32]) -> candle_core::Result<Vec<Vec<f32>>> {
        let tokens = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
        let states = self.model.forward(&tokens, &tokens.zeros_like()?, None)?;
        states.squeeze(0)?.to_vec2()
    }
}

impl Embedder for MiniLm {
    fn embed(&self, text: &str) -> Result<Vec<f32>, LakeError> {
        let failed = |reason: String| LakeError::Embed { reason };
        let tokens = self.tokenizer.encode_fast(text, true).map_err(|e| failed(e.to_string()))?;
        let mut states =
            self.states(tokens.get_ids()).map_err(|e| failed(e.to_string()))?.into_iter();
        let mut sum = states.next().unwrap_or_default();
        for state in states {
            sum.iter_mut().zip(state).for_each(|(sum, value)| *sum += value);
        }
        // The mean points where the sum does.
        normalize(&mut sum);
        Ok(sum)
    }
}

impl fmt::Debug for MiniLm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MiniLm").finish_non_exhaustive()
    }
}
