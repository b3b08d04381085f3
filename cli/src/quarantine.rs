//! `r2r data quarantine`: what did not come in, why, and a reviewer's decision on it.

use std::{cmp::Reverse, collections::BTreeMap, path::Path};

use anyhow::{Context as _, bail};
use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use domain::Clock;
use lake::{
    BuildOptions, Manifest, QuarantineClass, Quarantined, ReleaseLog, SnapshotStore, SourceList,
    Universe, find_quarantined, quarantined_record, release,
};

use crate::{
    data::UniverseArgs,
    fetch,
    screen::{progress, say},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the quarantine of the current snapshot: id, class, source, record, reason.
    ///
    /// Personal data is masked.
    #[command(after_help = "Examples:\n  r2r data quarantine list\n  \
        r2r data quarantine list --class pii --universe AAPL\n  \
        r2r data quarantine list --by-reason")]
    List {
        /// Only records of a class.
        #[arg(long, value_enum)]
        class: Option<Class>,
        /// Only how many there are of each class, source, kind and reason, most first.
        #[arg(long)]
        by_reason: bool,
        #[command(flatten)]
        universe: UniverseArgs,
    },
    /// Show a quarantined record: what was found in it and where, and who has released it.
    #[command(after_help = "Examples:\n  r2r data quarantine show 3f9ac1\n  \
        r2r data quarantine show 3f9ac1 --unmasked")]
    Show {
        /// Id of the record, or its first characters.
        id: String,
        /// Read the whole record from its source and print it as it is. Personal data
        /// shows: for the eyes of a reviewer only.
        #[arg(long)]
        unmasked: bool,
        #[command(flatten)]
        universe: UniverseArgs,
    },
    /// Let records into the next build, after you have read them.
    ///
    /// The decision is appended to releases.jsonl in the data directory, with your name,
    /// and becomes part of every snapshot that is built with it. It is for the content you
    /// have seen: a record that changes is quarantined again. What could not be read (class
    /// schema) cannot be released.
    #[command(
        after_help = "Example:\n  r2r data quarantine release 3f9ac1 77b20e --reviewer \"Jane Doe\" \
        --reason \"the company prints this number in its releases\"\n  r2r data build"
    )]
    Release(Release),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Release {
    /// Ids of records, or their first characters.
    #[arg(required = true)]
    ids: Vec<String>,
    /// Who has reviewed them.
    #[arg(long)]
    reviewer: String,
    /// Why they may come in.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    universe: UniverseArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Class {
    /// Could not be read, or contradicts itself.
    Schema,
    /// Holds personal data.
    Pii,
    /// Says that it is not public.
    Mnpi,
}

impl From<Class> for QuarantineClass {
    fn from(class: Class) -> Self {
        match class {
            Class::Schema => Self::Schema,
            Class::Pii => Self::Pii,
            Class::Mnpi => Self::Mnpi,
        }
    }
}

pub(crate) async fn run(
    command: &Command,
    data_dir: &Path,
    clock: &dyn Clock,
) -> anyhow::Result<()> {
    match command {
        Command::List { class, by_reason, universe } => {
            let (manifest, entries) = entries(universe, data_dir).await?;
            let class = class.map(QuarantineClass::from);
            let is_wanted = |entry: &&Quarantined| class.is_none_or(|class| entry.class == class);
            let wanted: Vec<&Quarantined> = entries.iter().filter(is_wanted).collect();
            if *by_reason {
                count(&wanted)?
            } else {
                list(&wanted, data_dir)?
            }
            say!(
                "{} of {} quarantined records of snapshot {}; {} came in by release",
                wanted.len(),
                entries.len(),
                manifest.hash.short(),
                manifest.releases.len()
            );
            Ok(())
        }
        Command::Show { id, unmasked, universe } => {
            let (manifest, entries) = entries(universe, data_dir).await?;
            let entry = find_quarantined(&entries, id, manifest.hash)?;
            // Before the masked record is printed: it may need the files of the build.
            let files = unmasked.then(|| {
                universe.load().context(
                    "--unmasked reads the source again: name the files that `r2r data build` was \
                     given, --universe FILE and --sources FILE",
                )
            });
            let files = files.transpose()?;
            show(entry, data_dir)?;
            files.map_or(Ok(()), |files| print(entry, &files, data_dir, clock))
        }
        Command::Release(args) => let_in(args, data_dir, clock).await,
    }
}

async fn entries(
    args: &UniverseArgs,
    data_dir: &Path,
) -> anyhow::Result<(Manifest, Vec<Quarantined>)> {
    let store = SnapshotStore::local(data_dir);
    let manifest = store.manifest(store.current(&args.id()?).await?).await?;
    let entries = store.quarantine(&manifest).await?;
    Ok((manifest, entries))
}

fn count(entries: &[&Quarantined]) -> anyhow::Result<()> {
    let mut counts: BTreeMap<(&str, &str, &str, &str), usize> = BTreeMap::new();
    for entry in entries {
        let reason = (entry.class.key(), entry.kind.table(), &*entry.source_id, &*entry.reason);
        *counts.entry(reason).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| Reverse(*count));
    for ((class, kind, source, reason), count) in counts {
        say!("{count:>8}  {class:<6}  {kind:<12}  {source}: {reason}");
    }
    Ok(())
}

fn list(entries: &[&Quarantined], data_dir: &Path) -> anyhow::Result<()> {
    let releases = ReleaseLog::open(data_dir)?;
    for entry in entries {
        let Quarantined { id, class, source_id, kind, place, reason, raw, .. } = entry;
        let state = match entry.digest.and_then(|digest| releases.admits(*id, digest)) {
            Some(release) => {
                format!("  [released by {}; comes in with the next build]", release.reviewer)
            }
            None => String::new(),
        };
        let (class, kind) = (class.key(), kind.table());
        say!("{}  {class:<6}  {kind:<12}  {source_id}  {place}: {reason}{state}", id.short());
        if !raw.is_empty() {
            say!("              {raw}");
        }
    }
    Ok(())
}

fn show(entry: &Quarantined, data_dir: &Path) -> anyhow::Result<()> {
    say!("id        {}", entry.id);
    say!("class     {}", entry.class.key());
    say!("kind      {}", entry.kind.table());
    say!("source    {}", entry.source_id);
    say!("record    {}", entry.place);
    say!("reason    {}", entry.reason);
    if let Some(digest) = entry.digest {
        say!("content   {digest}");
    }
    for finding in &entry.findings {
        say!(
            "finding   {} in {}[{}..{}]",
            finding.rule,
            finding.column,
            finding.start,
            finding.end
        );
    }
    say!("excerpt   {}", entry.raw);
    if let Some(release) = ReleaseLog::open(data_dir)?.of(entry.id) {
        say!(
            "released  by {} at {}, content {}: {}",
            release.reviewer,
            release.released_at.format("%Y-%m-%dT%H:%MZ"),
            release.digest.short(),
            release.reason
        );
    }
    Ok(())
}

fn print(
    entry: &Quarantined,
    (universe, sources): &(Universe, SourceList),
    data_dir: &Path,
    clock: &dyn Clock,
) -> anyhow::Result<()> {
    let progress = progress()?;
    let providers = fetch::providers(None)?;
    let options = BuildOptions {
        data_dir,
        universe,
        sources,
        providers: &providers,
        git_commit: "unknown",
        clock,
        progress: &progress,
    };
    let record = quarantined_record(&options, entry)?;
    progress.finish_and_clear();
    for (column, value) in record {
        say!("{column}: {value}");
    }
    Ok(())
}

async fn let_in(args: &Release, data_dir: &Path, clock: &dyn Clock) -> anyhow::Result<()> {
    let (manifest, entries) = entries(&args.universe, data_dir).await?;
    let found = args.ids.iter().map(|id| find_quarantined(&entries, id, manifest.hash));
    let mut found: Vec<&Quarantined> = found.collect::<Result<_, _>>()?;
    found.sort_by_key(|entry| entry.id);
    if let Some(twice) = found.windows(2).find(|pair| pair[0].id == pair[1].id) {
        bail!("record {} is named twice", twice[0].id.short());
    }
    for release in release(data_dir, &found, &args.reviewer, &args.reason, clock)? {
        say!("{} released: {} of {}", release.id.short(), release.record_id, release.source_id);
    }
    say!("the next `r2r data build` of universe {} lets them in", manifest.universe.id);
    Ok(())
}
