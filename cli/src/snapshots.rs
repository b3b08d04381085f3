//! `r2r data snapshot`, `diff`, `verify` and `gc`: the snapshots of a store.

use std::path::Path;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use lake::{
    Change, GcOptions, ListedSnapshot, SnapshotDiff, SnapshotStore, SourceDiff, VerifyReport,
};

use crate::screen::say;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the snapshots of a store, name one, or copy one into another store.
    ///
    /// A copy sends only the files the other store lacks. Safe to stop and repeat: a
    /// snapshot is there whole or not at all.
    #[command(after_help = "Examples:
  r2r data snapshot
  r2r data snapshot CURRENT --ref R20-2024
  r2r data snapshot CURRENT --to s3://bucket/lake
  r2r data snapshot CURRENT --store s3://bucket/lake --to data")]
    Snapshot {
        /// Reference, id, or its first characters; lists all snapshots when absent.
        snapshot: Option<String>,
        /// Name to give the snapshot, in the store it is copied to if it is copied.
        #[arg(long = "ref", value_name = "NAME", requires = "snapshot")]
        reference: Option<String>,
        /// Store to copy the snapshot to; it becomes CURRENT there, or --ref.
        #[arg(long, value_name = "URL", requires = "snapshot")]
        to: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Show what is different between two snapshots: files and records.
    #[command(after_help = "Examples:
  r2r data diff 3f9ac1 CURRENT
  r2r data diff R20-2024 R20 --store gs://bucket/lake")]
    Diff {
        /// The earlier snapshot: reference, id, or its first characters.
        from: String,
        /// The later snapshot.
        #[arg(default_value = "CURRENT")]
        to: String,
        #[command(flatten)]
        place: Place,
    },
    /// Check every byte of a snapshot, or of all, against the digests.
    ///
    /// Names each file that is damaged or missing, and what to do. Exits 1 then.
    #[command(after_help = "Examples:
  r2r data verify
  r2r data verify CURRENT --store s3://bucket/lake")]
    Verify {
        /// Reference, id, or its first characters; everything in the store when absent.
        snapshot: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Remove files that no snapshot needs, and on request old snapshots.
    ///
    /// Snapshots that a reference names always stay. Never runs beside a build.
    #[command(after_help = "Examples:
  r2r data gc --dry-run
  r2r data gc --keep 5
  r2r data gc --old")]
    Gc {
        /// Keep this many of the newest snapshots; all when absent.
        #[arg(long, value_name = "N")]
        keep: Option<usize>,
        /// Remove snapshots of version 1, from before snapshots shared files.
        #[arg(long)]
        old: bool,
        /// Only tell what would be removed.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        place: Place,
    },
}

// Which store. No doc comment: clap would show it for the command.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Path, s3://bucket/prefix or gs://bucket/prefix; the data directory when
    /// absent. Keys and region come from AWS_... and GOOGLE_... variables.
    #[arg(long = "store", value_name = "URL", env = "R2R_STORE")]
    url: Option<String>,
}

impl Place {
    pub(crate) fn open(&self, data_dir: &Path) -> anyhow::Result<SnapshotStore> {
        Ok(match &self.url {
            Some(url) => SnapshotStore::open(url)?,
            None => SnapshotStore::local(data_dir),
        })
    }
}

pub(crate) async fn run(command: &Command, data_dir: &Path) -> anyhow::Result<()> {
    match command {
        Command::Snapshot { snapshot: None, place, .. } => list(&place.open(data_dir)?).await,
        Command::Snapshot { snapshot: Some(name), reference, to, place } => {
            let store = place.open(data_dir)?;
            publish(&store, name, reference.as_deref(), to.as_deref()).await
        }
        Command::Diff { from, to, place } => {
            let store = place.open(data_dir)?;
            let (from, to) = (store.resolve(from).await?, store.resolve(to).await?);
            tell_diff(&store.diff(from, to).await?)
        }
        Command::Verify { snapshot, place } => {
            let store = place.open(data_dir)?;
            let only = match snapshot {
                Some(name) => Some(store.resolve(name).await?),
                None => None,
            };
            tell_check(&store.url(), store.verify(only).await?)
        }
        Command::Gc { keep, old, dry_run, place } => {
            let options = GcOptions { keep: *keep, old: *old, dry_run: *dry_run };
            collect(&place.open(data_dir)?, options).await
        }
    }
}

async fn list(store: &SnapshotStore) -> anyhow::Result<()> {
    let snapshots = store.list().await?;
    if snapshots.is_empty() {
        say!("no snapshot in {}: run `r2r data build`", store.url());
        return Ok(());
    }
    for ListedSnapshot { id, refs, manifest } in snapshots {
        let short: String = id.chars().take(12).collect();
        match manifest {
            Ok(manifest) => say!(
                "{short}  {}  {:<8} {:>9} records  {:>4} files  {}",
                manifest.created_at.format("%Y-%m-%d %H:%M"),
                manifest.universe.id,
                manifest.record_count(),
                manifest.data_sources.len(),
                refs.join(", "),
            ),
            Err(error) => say!("{short}  cannot be used: {error}"),
        }
    }
    Ok(())
}

async fn publish(
    store: &SnapshotStore,
    name: &str,
    reference: Option<&str>,
    to: Option<&str>,
) -> anyhow::Result<()> {
    let id = store.resolve(name).await?;
    let Some(to) = to else {
        let Some(reference) = reference else {
            bail!("say what to do with {id}: --ref NAME names it, --to URL copies it");
        };
        store.point(reference, id).await?;
        say!("{reference} is snapshot {id}");
        return Ok(());
    };
    let target = SnapshotStore::open(to)?;
    let reference = reference.unwrap_or("CURRENT");
    let copied = store
        .copy_to(id, &target, &[reference])
        .await
        .with_context(|| format!("snapshot {id} cannot be copied to {to}"))?;
    say!("{reference} of {to} is snapshot {id}");
    say!(
        "  {} files copied ({}), {} were there",
        copied.copied_files,
        size(copied.copied_bytes),
        copied.shared_files
    );
    Ok(())
}

fn tell_diff(diff: &SnapshotDiff) -> anyhow::Result<()> {
    say!("{} -> {}", diff.from.short(), diff.to.short());
    for source in &diff.sources {
        let SourceDiff { added, removed, changed, .. } = source;
        say!(
            "  {:<12} {:<16} files {} shared, +{} -{}  records +{added} -{removed} ~{changed}",
            source.kind.table(),
            source.source_id,
            source.shared_files,
            source.added_files,
            source.removed_files,
        );
        for example in &source.examples {
            match &example.change {
                Change::Added => say!("      + {}", example.record_id),
                Change::Removed => say!("      - {}", example.record_id),
                Change::Changed(columns) => {
                    let columns = columns.iter().map(|(c, old, new)| format!("{c} {old} -> {new}"));
                    let columns: Vec<String> = columns.collect();
                    say!("      ~ {}: {}", example.record_id, columns.join("; "));
                }
            }
        }
    }
    if !diff.features.is_empty() {
        say!("  features: {}", diff.features.join(", "));
    }
    if diff.universe_changed {
        say!("  the universe's description or names differ");
    }
    if diff.same_records() {
        say!("the same records");
    }
    Ok(())
}

fn tell_check(url: &str, report: VerifyReport) -> anyhow::Result<()> {
    let VerifyReport { snapshots, files, bytes, .. } = report;
    if snapshots == 0 && report.old.is_empty() && report.problems.is_empty() {
        bail!(
            "there is no snapshot in {url}: name another place with --data-dir or --store, or run `r2r data build`"
        );
    }
    let snapshots = counted(snapshots, "snapshot");
    say!("{url}: checked {snapshots}, {} ({})", counted(files, "file"), size(bytes));
    for problem in &report.problems {
        say!("  damaged: {problem}");
    }
    for id in &report.old {
        say!("  version 1, not read: {id}; `r2r data gc --old` removes it");
    }
    if !report.orphans.is_empty() {
        let orphans = counted(report.orphans.len(), "file");
        say!("  {orphans} no snapshot needs; `r2r data gc` removes them");
    }
    if !report.is_sound() {
        bail!("{} of {url}", counted(report.problems.len(), "problem"));
    }
    say!("all is as it was written");
    Ok(())
}

async fn collect(store: &SnapshotStore, options: GcOptions) -> anyhow::Result<()> {
    let report = store.gc(options).await?;
    let verb = if options.dry_run { "would remove" } else { "removed" };
    for id in &report.snapshots {
        say!("{verb} snapshot {id}");
    }
    if options.dry_run {
        for file in &report.files {
            say!("{verb} {file}");
        }
    }
    say!(
        "{verb} {} ({}); {} kept",
        counted(report.files.len(), "file"),
        size(report.bytes),
        counted(report.kept.len(), "snapshot")
    );
    Ok(())
}

fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn size(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
