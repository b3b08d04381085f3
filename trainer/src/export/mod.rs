//! From an adapter to what serves: `r2r-trainer parity` and `r2r-trainer merge`.
//!
//! An adapter is trained here and served by llama.cpp, live or merged into its base.
//! Both steps can lose it silently, so both are measured on a text: the trainer's
//! log-probabilities against those of the live adapter, and the merged file against
//! the live adapter. A merged file beyond its bounds is not left behind.
//!
//! The first is measured over the base widened to 32 bits. Over matrices of fewer bits
//! kernels round activations to match (BF16 to BF16, Q8_0 to Q8_0), and where llama.cpp
//! adds in another order than the trainer, in attention over its padded cache, the last bit
//! of a sum decides how a number is rounded: two evaluations of the same function then
//! differ by as much as either differs from exact arithmetic. That figure is shown too.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    thread::available_parallelism,
};

use anyhow::{Context as _, ensure};
use clap::Args;
use gradients::{
    AdapterFile, Batch, Engine, EngineConfig, Matrix, Model, Weights, directory_of,
    ggml::{Device, DeviceKind, HOOK_TOKENS, Kind, llama_opt},
    merge, widen,
};

use crate::{
    config::{ConfigArgs, Export, MergedType, THREADS_MAX},
    llama::{Llama, Rows},
};

/// What a comparison reads.
#[derive(Debug, Args)]
pub(crate) struct Compared {
    /// Base model, a GGUF file.
    #[arg(long, value_name = "FILE")]
    base: PathBuf,
    /// Adapter, a GGUF file.
    #[arg(long, value_name = "FILE")]
    adapter: PathBuf,
    /// Text to compare on; best one the adapter was not trained on.
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// Tokens of the text to use.
    #[arg(long, default_value_t = 512)]
    tokens: usize,
    /// Threads; as many as cores when not given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(THREADS_MAX)))]
    threads: Option<u32>,
}

/// Arguments of `r2r-trainer parity`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  r2r-trainer parity --base base-bf16.gguf \
    --adapter run/adapter.gguf --text held-out.txt")]
pub(crate) struct ParityArgs {
    #[command(flatten)]
    compared: Compared,
    /// Largest mean difference of log-probabilities over the widened base, in nats a token.
    #[arg(long, default_value_t = 5e-4)]
    difference_max: f64,
    /// Also compares gradients with those of llama.cpp's own training hooks, over the widened
    /// base and the first 257 tokens, which takes some gigabytes.
    #[arg(long)]
    gradients: bool,
    /// Largest relative difference of gradients.
    #[arg(long, default_value_t = 1e-3, requires = "gradients")]
    gradient_difference_max: f64,
}

/// Arguments of `r2r-trainer merge`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  r2r-trainer merge --base base.gguf --adapter run/adapter.gguf \
    --text held-out.txt --out merged.gguf\n  r2r-trainer merge --base base.gguf \
    --adapter run/adapter.gguf --text held-out.txt --out merged.gguf --set export.merged_type=bf16"
)]
pub(crate) struct MergeArgs {
    /// Its section `export` has the type of merged matrices, and the bounds of the gate.
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    compared: Compared,
    /// Merged file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// The format of a type of merged weights.
fn kind(merged: MergedType) -> anyhow::Result<Kind> {
    let name = match merged {
        MergedType::F32 => "f32",
        MergedType::Bf16 => "bf16",
        MergedType::Q8_0 => "q8_0",
        MergedType::Q6K => "q6_k",
        MergedType::Q4_1 => "q4_1",
    };
    Kind::parse(name).with_context(|| format!("ggml has no format {name}"))
}

/// Compares the trainer's log-probabilities with those of llama.cpp and the live
/// adapter, over the base as it is and widened to 32 bits.
///
/// # Errors
/// Fails when they differ by more than the bound over the widened base.
pub(crate) fn run_parity(args: &ParityArgs) -> anyhow::Result<()> {
    let compared = &args.compared;
    let text = Text::read(compared)?;
    anstream::println!("as the file is: {}", text.difference(&compared.base)?);
    // Beside the adapter: it may be larger than what temporary directories hold.
    let place = tempfile::tempdir_in(directory_of(&compared.adapter))
        .context("cannot make a directory beside the adapter")?;
    let wide = place.path().join("wide.gguf");
    widen(&compared.base, &wide)?;
    let difference = text.difference(&wide)?;
    anstream::println!("in 32 bits:     {difference}");
    ensure!(
        difference.mean <= args.difference_max,
        "trainer and llama.cpp differ by {:.2e} nats a token, more than {:.2e}; is this the \
         base the adapter was trained over?",
        difference.mean,
        args.difference_max
    );
    if args.gradients {
        let apart = text.gradient_difference(&wide)?;
        ensure!(
            apart <= args.gradient_difference_max,
            "gradients of trainer and llama.cpp differ by {apart:.2e}, more than {:.2e}",
            args.gradient_difference_max
        );
    }
    Ok(())
}

/// Merges an adapter, and keeps the merged file when it is close enough to the live
/// adapter.
///
/// # Errors
/// Fails when a file is not what it should be, or the merged one is beyond its bounds.
pub(crate) fn run_merge(args: &MergeArgs) -> anyhow::Result<()> {
    let export = args.config.load()?.export;
    merge_within(&export, &args.compared, &args.out)
}

fn merge_within(export: &Export, compared: &Compared, out: &Path) -> anyhow::Result<()> {
    ensure!(!out.exists(), "{} exists: name another file, or remove it", out.display());
    let text = Text::read(compared)?;
    let adapter = AdapterFile::read(&compared.adapter)?;
    let candidate =
        tempfile::Builder::new().prefix(".merged-").suffix(".gguf").tempfile_in(directory_of(out));
    let candidate =
        candidate.with_context(|| format!("cannot write {}", out.display()))?.into_temp_path();
    let report = merge(&compared.base, &adapter, &candidate, kind(export.merged_type)?)?;
    ensure!(report.merged > 0, "{} has no matrix to merge", compared.adapter.display());
    let live = text.live_adapter(&compared.base)?;
    let merged = Llama::load(&candidate)?.evaluate(None, &text.tokens, text.threads)?;
    let kl = live.mean_kl(&merged);
    let [before, after] = [&live, &merged].map(|rows| perplexity(&rows.of(&text.tokens)));
    anstream::println!(
        "{} matrices merged, {} tensors copied; over {} tokens: KL {kl:.2e} nats a token, \
         perplexity {after:.4} merged, {before:.4} live",
        report.merged,
        report.copied,
        text.tokens.len()
    );
    ensure!(
        kl <= export.kl_max && after <= before * export.perplexity_ratio_max,
        "{} is not the adapter any more: KL {kl:.2e} (at most {:.2e}), perplexity ratio {:.4} (at \
         most {:.4}); merge to a finer format, such as export.merged_type q8_0 or bf16",
        out.display(),
        export.kl_max,
        after / before,
        export.perplexity_ratio_max
    );
    candidate.persist(out).with_context(|| format!("cannot write {}", out.display()))
}

/// The text of a comparison in the tokens of the base.
struct Text<'a> {
    compared: &'a Compared,
    tokens: Vec<u32>,
    threads: usize,
}

impl<'a> Text<'a> {
    fn read(compared: &'a Compared) -> anyhow::Result<Self> {
        let path = &compared.text;
        let text = fs::read_to_string(path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        let tokens = Llama::load(&compared.base)?.tokens(&text, compared.tokens)?;
        let cores = available_parallelism().map_or(1, usize::from);
        Ok(Self { compared, tokens, threads: compared.threads.map_or(cores, |n| n as usize) })
    }

    /// How far llama.cpp and the trainer are apart over a file of the base.
    fn difference(&self, base: &Path) -> anyhow::Result<Difference> {
        let live = self.live_adapter(base)?.of(&self.tokens);
        let own = self.own(base)?;
        let differences = live.iter().zip(&own).map(|(a, b)| f64::from((a - b).abs()));
        Ok(Difference {
            tokens: self.tokens.len(),
            mean: mean(differences.clone()),
            largest: differences.fold(0.0, f64::max),
            perplexities: [&live, &own].map(|log_probs| perplexity(log_probs)),
        })
    }

    /// A file of the base and the live adapter in llama.cpp.
    fn live_adapter(&self, base: &Path) -> anyhow::Result<Rows> {
        let mut model = Llama::load(base)?;
        model.evaluate(Some(&self.compared.adapter), &self.tokens, self.threads)
    }

    /// Log-probabilities of what follows each token, by the trainer.
    fn own(&self, base: &Path) -> anyhow::Result<Vec<f32>> {
        Ok(self.engine(base)?.evaluate(&Batch::text(&self.tokens)?)?.log_probs)
    }

    /// The trainer's engine over a file of the base.
    fn engine(&self, base: &Path) -> anyhow::Result<Engine> {
        let backend = Device::first(DeviceKind::Cpu)?.open(self.threads)?;
        let path = &self.compared.adapter;
        let adapter = AdapterFile::read(path)?;
        let weights = Weights::open(base)?;
        let model = Model::load(&backend, &weights, adapter.config(path)?, false)?;
        adapter.apply(model.adapter(), path)?;
        Ok(Engine::new(model, EngineConfig::default())?)
    }

    /// `|a - b| / |b|` of the gradients of the trainer and of llama.cpp's hooks, in the
    /// Euclidean norm over the whole adapter. The directory of the base is one to write in.
    fn gradient_difference(&self, base: &Path) -> anyhow::Result<f64> {
        let tokens = self.tokens.get(..=HOOK_TOKENS);
        let tokens = tokens.with_context(|| {
            let (found, needed) = (self.tokens.len(), HOOK_TOKENS + 1);
            format!("gradients are compared over {needed} tokens, the text has {found}")
        })?;
        let mut engine = self.engine(base)?;
        // The hooks train matrices of 32 bits alone; a released adapter has 16.
        let wide = base.with_file_name("adapter.gguf");
        let architecture = engine.model().shape().architecture;
        AdapterFile::read(&self.compared.adapter)?.write(&wide, architecture)?;
        let hooks = llama_opt(base, &wide, tokens, self.threads)?;
        let batch = Batch::text(tokens)?;
        let loss = engine.accumulate(&batch)?.loss(&batch);
        let adapter = engine.model().adapter();
        let mut own = AdapterFile::matrices(adapter, &adapter.gradients());
        own.sort_by(|a, b| a.0.cmp(&b.0));
        let names = |matrices: &[Matrix]| matrices.iter().map(|m| m.0.clone()).collect::<Vec<_>>();
        ensure!(
            names(&own) == names(&hooks.gradients),
            "llama.cpp has gradients of {} matrices, the trainer of {}",
            hooks.gradients.len(),
            own.len()
        );
        let flat = |matrices: Vec<Matrix>| matrices.into_iter().flat_map(|m| m.2).map(f64::from);
        let (mut apart, mut norm) = (0.0, 0.0);
        for (own, found) in flat(own).zip(flat(hooks.gradients)) {
            apart += (own - found) * (own - found);
            norm += found * found;
        }
        let apart = (apart / norm).sqrt();
        anstream::println!(
            "gradients:      relative difference {apart:.2e} over {HOOK_TOKENS} tokens; loss {:.6} in \
             llama.cpp, {loss:.6} in the trainer",
            hooks.loss
        );
        Ok(apart)
    }
}

/// Differences of log-probabilities, in nats a token.
struct Difference {
    tokens: usize,
    mean: f64,
    largest: f64,
    /// In llama.cpp and in the trainer.
    perplexities: [f64; 2],
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tokens, mean, largest, perplexities: [live, own] } = self;
        write!(
            f,
            "{tokens} tokens: mean |dlogp| {mean:.2e}, largest {largest:.2e}; perplexity \
             {live:.4} in llama.cpp, {own:.4} in the trainer"
        )
    }
}

fn mean(numbers: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = numbers.fold((0.0, 0.0), |(sum, n), number| (sum + number, n + 1.0));
    sum / n
}

fn perplexity(log_probs: &[f32]) -> f64 {
    (-mean(log_probs.iter().map(|&log_prob| f64::from(log_prob)))).exp()
}

#[cfg(test)]
mod tests;
