//! `r2r-trainer corpus`: from point-in-time snapshots to examples.
//!
//! ```text
//! OUT/corpus.json                       what it was made of, digests of the files
//! OUT/config.yaml                       the configuration, every key
//! OUT/{train,validation,test}/STAGE.jsonl   an Example a line
//! OUT/statistics.{md,json}
//! ```
//!
//! The same snapshots, configuration and seed give the same bytes. The directory appears
//! whole or not at all: it is written beside its place and renamed.

mod accept;
mod contexts;
mod example;
pub(crate) mod lessons;
mod split;
mod statistics;
mod write;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use clap::Args as ClapArgs;
use domain::Digest;
use indicatif::{ProgressBar, ProgressStyle};

use self::{
    statistics::Statistics,
    write::{CorpusWriter, is_corpus},
};
use crate::{
    config::{ConfigArgs, RunConfig},
    distill::Distilled,
    teacher::{Salience, Teacher},
};

pub(crate) use accept::Acceptor;
pub(crate) use contexts::{ContextRef, OpenSource, Sources};
pub(crate) use example::{Completion, Example, Freedom, Piece, Stage};
pub(crate) use split::{Part, division};
pub(crate) use write::Corpus;

/// Training contexts of a universe from which it is learned what is usual there.
const SALIENCE_CONTEXTS: usize = 400;

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    r2r-trainer corpus --out target/corpus\n  \
    r2r-trainer corpus --config cpu-demo --out target/demo\n  \
    r2r-trainer corpus --config cpu-demo --distill distilled.jsonl --out target/distilled\n  \
    r2r-trainer corpus --set data.sources.0.every=5 --set seed=7 --out target/corpus7\n\n\
    OUT/statistics.md shows label shares, lengths, phrases and whole theses. See docs/training.md.")]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Where snapshots are kept.
    #[arg(long, env = "R2R_DATA_DIR", default_value = "data")]
    data_dir: PathBuf,
    /// Directory to write; must not exist.
    #[arg(long)]
    out: PathBuf,
    /// Theses of another model, as `r2r-trainer distill` writes them; those that can be
    /// kept take the place of the teacher's.
    #[arg(long, value_name = "FILE")]
    distill: Option<PathBuf>,
    /// Replace OUT where it exists.
    #[arg(long)]
    replace: bool,
}

/// Builds a corpus; Ctrl-C leaves nothing behind.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let config = args.config.load()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            built = build(&config, args) => built,
            _ = tokio::signal::ctrl_c() => bail!("cancelled; nothing was written"),
        }
    })
}

async fn build(config: &RunConfig, args: &Args) -> anyhow::Result<()> {
    if args.out.exists() && !args.replace {
        bail!("{} exists: name another directory or add --replace", args.out.display());
    }
    ensure!(
        !args.out.exists() || is_corpus(&args.out),
        "{} is no corpus, which --replace would remove: name another directory",
        args.out.display()
    );
    let mut distilled = args.distill.as_deref().map(Distilled::read).transpose()?;
    let sources = Sources::open(config, &args.data_dir).await?;
    let contexts = sources.contexts(config.seed)?;
    let bar = progress(contexts.len())?;
    bar.set_message("learning what is usual");
    let teacher = teacher(config, &sources, &contexts).await?;
    let mut writer = CorpusWriter::new(&args.out)?;
    let mut acceptor = Acceptor::new()?;
    let mut statistics = Statistics::default();
    let mut prompts: BTreeSet<Digest> = BTreeSet::new();
    bar.set_message("writing theses");
    for context in &contexts {
        let source = &sources.open[context.source];
        // Here a signal is heard.
        tokio::task::yield_now().await;
        let read = source.snapshot.read(&context.ticker, context.as_of).await?;
        // On held-out dates what is cited depends on no future, in any order.
        let label = context.label.filter(|_| context.part == Part::Train).map(|(label, _)| label);
        let mut lesson = teacher.write(&source.universe, &read, label)?;
        bar.inc(1);
        if !prompts.insert(Digest::of(format!("{}\0{}", lesson.plan.day, lesson.plan.user))) {
            statistics.duplicate();
            continue;
        }
        if let Some(distilled) = &mut distilled {
            let picks = distilled.picks(&source.universe, &read, &lesson.plan, &mut acceptor)?;
            lesson.picks = picks.unwrap_or(lesson.picks);
        }
        acceptor.check(&lesson.plan, &lesson.picks)?;
        statistics.add(&source.universe, context, &read, &lesson)?;
        for stage in Stage::ALL {
            let example = lessons::example(stage, &source.universe, context, &read, &lesson);
            if let Some(example) = example {
                writer.write(context.part, &example)?;
            }
        }
    }
    let spans: Vec<(String, &split::Calendar)> = sources
        .open
        .iter()
        .map(|source| (source.universe.clone(), &sources.calendars[source.calendar]))
        .collect();
    statistics.finish(acceptor.distinct(), &spans, distilled.map(Distilled::finish));
    finish(config, &sources, writer, &statistics, args.replace)?;
    bar.finish_and_clear();
    report(&args.out, &statistics)
}

/// Learns what is usual in each universe from an even sample of its training contexts.
async fn teacher(
    config: &RunConfig,
    sources: &Sources,
    contexts: &[ContextRef],
) -> anyhow::Result<Teacher> {
    let is_train = |context: &&ContextRef| context.part == Part::Train;
    let mut salience = BTreeMap::new();
    for (i, source) in sources.open.iter().enumerate() {
        // Training contexts are in a drawn order: the first are a fair sample. A universe
        // whose dates are all later learns from those of the others.
        let is_own = |context: &&ContextRef| context.source == i;
        let own = contexts.iter().filter(is_train).filter(is_own).count();
        let is_taken = |context: &&ContextRef| own == 0 || context.source == i;
        let taken = contexts.iter().filter(is_train).filter(is_taken).take(SALIENCE_CONTEXTS);
        let mut reads = Vec::new();
        for context in taken {
            let snapshot = &sources.open[context.source].snapshot;
            reads.push(snapshot.read(&context.ticker, context.as_of).await?);
        }
        salience.insert(source.universe.clone(), Salience::fit(&reads));
    }
    Ok(Teacher::new(salience, config.seed, config.data.teacher))
}

fn finish(
    config: &RunConfig,
    sources: &Sources,
    mut writer: CorpusWriter,
    statistics: &Statistics,
    replace: bool,
) -> anyhow::Result<()> {
    let names: Vec<&str> = sources.open.iter().map(|source| source.universe.as_str()).collect();
    let title = format!("Corpus of {}", names.join(", "));
    writer.add("statistics.md", &statistics.page(&title))?;
    writer.add("statistics.json", &(serde_json::to_string_pretty(statistics)? + "\n"))?;
    writer.add(write::CONFIG, &config.to_yaml()?)?;
    let snapshots = sources.open.iter().map(|s| (s.universe.clone(), s.snapshot.id()));
    let biases = sources
        .open
        .iter()
        .map(|s| (s.universe.clone(), s.snapshot.manifest().universe.bias.clone()));
    writer.finish(config.seed, snapshots.collect(), biases.collect(), replace)
}

fn report(out: &Path, statistics: &Statistics) -> anyhow::Result<()> {
    use std::io::Write as _;

    let mut stdout = anstream::stdout();
    if let Some(imported) = statistics.imported() {
        writeln!(stdout, "{}", imported.counts).context("cannot write to standard output")?;
    }
    writeln!(
        stdout,
        "{} contexts, {} claims in {} different phrases are in {}; read statistics.md there",
        statistics.contexts(),
        statistics.claims(),
        statistics.distinct_phrases(),
        out.display()
    )
    .context("cannot write to standard output")
}

fn progress(contexts: usize) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template(
        "{bar:24} {pos}/{len} {per_sec} elapsed {elapsed} left {eta} {wide_msg}",
    )?;
    Ok(ProgressBar::new(contexts as u64).with_style(style))
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
