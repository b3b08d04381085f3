//! What llama.cpp computes for a text: the side of serving in a comparison.

use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use anyhow::{Context as _, anyhow, ensure};
use inference::model::{PreparedModel, open};
use llama_cpp_2::{
    LogOptions,
    context::params::{KvCacheType, LlamaContextParams},
    llama_backend::LlamaBackend,
    llama_batch::LlamaBatch,
    model::{LlamaModel, params::LlamaModelParams},
    send_logs_to_tracing,
    token::LlamaToken,
};

/// Log-probabilities of the whole vocabulary, a row for each token but the last.
pub(crate) struct Rows {
    width: usize,
    numbers: Vec<f32>,
}

impl Rows {
    /// Returns the log-probabilities of what follows each token.
    pub(crate) fn of(&self, tokens: &[u32]) -> Vec<f32> {
        let next = tokens.iter().skip(1);
        self.rows().zip(next).map(|(row, &token)| row[token as usize]).collect()
    }

    /// Returns the mean over rows of the KL divergence of `other` from these, in nats.
    pub(crate) fn mean_kl(&self, other: &Self) -> f64 {
        let divergence = |(p, q): (&[f32], &[f32])| -> f64 {
            let term = |(&p, &q): (&f32, &f32)| f64::from(p).exp() * f64::from(p - q);
            p.iter().zip(q).map(term).sum()
        };
        let n = self.rows().count().max(1);
        #[allow(clippy::cast_precision_loss, reason = "few rows")]
        let n = n as f64;
        self.rows().zip(other.rows()).map(divergence).sum::<f64>() / n
    }

    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.numbers.chunks_exact(self.width)
    }
}

/// A model that llama.cpp holds.
pub(crate) struct Llama {
    model: LlamaModel,
    path: PathBuf,
}

/// Returns llama.cpp's process-wide state.
///
/// # Errors
/// Fails when it cannot be initialised.
pub(crate) fn backend() -> anyhow::Result<&'static LlamaBackend> {
    static BACKEND: OnceLock<LlamaBackend> = OnceLock::new();
    if BACKEND.get().is_none() {
        // It reports each tensor it loads; what fails comes back as an error.
        send_logs_to_tracing(LogOptions::default().with_logs_enabled(false));
        let backend = LlamaBackend::init().context("llama.cpp cannot be initialised")?;
        // Another thread was faster at the most; there is one backend then as well.
        let _ = BACKEND.set(backend);
    }
    BACKEND.get().context("llama.cpp cannot be initialised")
}

impl Llama {
    /// Checks a model file and loads it.
    ///
    /// # Errors
    /// Fails when the file is not a model r2r serves, or llama.cpp refuses it.
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        let checked: PreparedModel = open(path)?;
        let params = LlamaModelParams::default().with_n_gpu_layers(0);
        let model = LlamaModel::load_from_file(backend()?, checked.path(), &params)
            .with_context(|| format!("{} cannot be loaded", path.display()))?;
        Ok(Self { model, path: path.to_owned() })
    }

    /// Returns the first `limit` tokens of a text, at least two.
    ///
    /// # Errors
    /// Fails when the text is shorter.
    pub(crate) fn tokens(&self, text: &str, limit: usize) -> anyhow::Result<Vec<u32>> {
        let mut tokens = self.model.vocab().tokenize(text.as_bytes(), false, false);
        tokens.truncate(limit);
        ensure!(
            tokens.len() >= 2,
            "a comparison needs at least two tokens, of the text and by --tokens"
        );
        tokens
            .into_iter()
            .map(|LlamaToken(id)| u32::try_from(id).map_err(|_| anyhow!("{id} is not a token")))
            .collect()
    }

    /// Computes a text in one piece, with keys and values of 32 bits, beside a live
    /// adapter where one is given.
    ///
    /// # Errors
    /// Fails when llama.cpp refuses the adapter or the text.
    pub(crate) fn evaluate(
        &mut self,
        adapter: Option<&Path>,
        tokens: &[u32],
        threads: usize,
    ) -> anyhow::Result<Rows> {
        let mut adapter = match adapter {
            None => None,
            Some(path) => {
                let adapter = self.model.lora_adapter_init(path);
                Some(adapter.with_context(|| format!("{} cannot be loaded", path.display()))?)
            }
        };
        let n = u32::try_from(tokens.len())?;
        let threads = i32::try_from(threads)?;
        let params = LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(n))
            .with_n_batch(n)
            .with_n_ubatch(n)
            .with_n_threads(threads)
            .with_n_threads_batch(threads)
            .with_type_k(KvCacheType::F32)
            .with_type_v(KvCacheType::F32)
            .with_flash_attention_policy(llama_cpp_sys_2::LLAMA_FLASH_ATTN_TYPE_DISABLED)
            .with_no_perf(true);
        let name = || self.path.display().to_string();
        let mut context = self.model.new_context(backend()?, params).with_context(name)?;
        if let Some(adapter) = &mut adapter {
            context.lora_adapter_set(adapter, 1.0).context("the adapter cannot be set")?;
        }
        let mut batch = LlamaBatch::new(tokens.len(), 1);
        for (position, &token) in tokens.iter().enumerate() {
            let token = LlamaToken(i32::try_from(token)?);
            batch.add(token, i32::try_from(position)?, &[0], true)?;
        }
        context.decode(&mut batch).with_context(name)?;
        let width = usize::try_from(self.model.n_vocab())?;
        let mut numbers = Vec::with_capacity(width * (tokens.len() - 1));
        for row in 0..tokens.len() - 1 {
            let logits = &context.get_logits_ith(i32::try_from(row)?)[..width];
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = logits.iter().map(|&z| f64::from(z - largest).exp()).sum();
            #[allow(clippy::cast_possible_truncation, reason = "a logarithm")]
            let log_sum = largest + sum.ln() as f32;
            numbers.extend(logits.iter().map(|z| z - log_sum));
        }
        Ok(Rows { width, numbers })
    }
}
