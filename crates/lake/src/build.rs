//! Builds a snapshot: all feeds of a universe, parsed and handed to the store.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use domain::{Clock, Digest};
use indicatif::ProgressBar;

use crate::{
    Format, Kind, LakeError, PackageCache, ProviderList, Quarantined, RawAnswer, Rejected,
    ReleaseLog, SnapshotStore, SourceList, Universe, UniverseInfo,
    gate::{Gate, content_digest, row_values, text},
    providers::{Live, check_feeds, read_live},
    records::{self, Feed, Parsed},
    snapshot::references,
    store::{Contents, FeedSource, Published, refs_of},
    universe::Origin,
};

/// Tickers that an error names.
const NAMED_MAX: usize = 5;

/// What a build needs.
#[derive(Clone, Copy)]
pub struct BuildOptions<'a> {
    /// Root of the data: `packages/` is the cache, `raw/` holds the archives of live
    /// providers; it is also the root of the snapshot store.
    pub data_dir: &'a Path,
    /// The names and feeds.
    pub universe: &'a Universe,
    /// The allowlist.
    pub sources: &'a SourceList,
    /// The live providers feeds may name.
    pub providers: &'a ProviderList,
    /// Commit of the running code, or `unknown`.
    pub git_commit: &'a str,
    /// Tells `created_at`.
    pub clock: &'a dyn Clock,
    /// Gets a message per step; `ProgressBar::hidden()` for none.
    pub progress: &'a ProgressBar,
}

/// What a build did.
#[derive(Debug, Clone)]
pub struct BuildReport {
    /// The snapshot's id.
    pub id: Digest,
    /// Where its manifest and the rejected records lie.
    pub dir: PathBuf,
    /// The same data had been built before; nothing was written.
    pub already_built: bool,
    /// Records per kind.
    pub records: Vec<(Kind, usize)>,
    /// Records that could not be read; also in `quarantine.jsonl` of the snapshot.
    pub rejected: Vec<Rejected>,
    /// Records that the classifiers have held back; there as well.
    pub held: Vec<Quarantined>,
    /// Records that reviewers have released.
    pub released: usize,
}

/// Fetches every package a universe needs into the cache. Blocks.
///
/// # Errors
/// Refuses sources that are not listed or licensed; fails when a package
/// cannot be fetched or is not the promised one.
pub fn fetch_universe(options: &BuildOptions<'_>) -> Result<(), LakeError> {
    let cache = PackageCache::new(options.data_dir.join("packages"));
    // All are looked up before any is fetched.
    let ids = options.universe.source_ids();
    let sources = ids.iter().map(|id| options.sources.get(id)).collect::<Result<Vec<_>, _>>()?;
    options.progress.inc_length(sources.len() as u64);
    for source in sources {
        cache.fetch(source, options.progress)?;
        options.progress.inc(1);
    }
    Ok(())
}

/// Builds the snapshot of a universe and makes it the universe's current one.
/// Fetches what the cache lacks, but asks no live provider: their feeds are read from
/// the raw archive. Blocks.
///
/// The same packages, archived answers, universe, features and releases give the same id
/// and the same bytes; a second build writes nothing, and one with later records only the
/// files these are in. A killed build leaves no snapshot behind.
///
/// # Errors
/// Refuses sources and providers that are not listed, licensed or entitled, and releases
/// that were changed; fails when a package cannot be fetched or read, the archive lacks an
/// answer or the result cannot be written.
pub fn build_snapshot(options: &BuildOptions<'_>) -> Result<BuildReport, LakeError> {
    let universe = options.universe;
    check_feeds(universe, options.providers)?;
    if let Some(weights) = &universe.retrieval.weights {
        // A snapshot that could not be read is not built.
        let cache = PackageCache::new(options.data_dir.join("packages"));
        cache.fetch(options.sources.get(weights)?, options.progress)?;
    }
    let mut contents = Contents {
        created_at: options.clock.now(),
        git_commit: options.git_commit,
        universe: UniverseInfo {
            id: universe.id.clone(),
            title: universe.title.clone(),
            bias: universe.bias.clone(),
            names: universe.names.clone(),
        },
        features: references()?,
        retrieval: universe.retrieval.reference(options.sources)?,
        passed: Default::default(),
        kinds: Vec::new(),
        raw_answers: Vec::new(),
    };
    let releases = ReleaseLog::open(options.data_dir)?;
    let mut gate = Gate::new(&releases);
    let mut raw_answers = BTreeSet::new();
    for kind in Kind::ALL {
        let mut feeds = parse_kind(options, kind, &mut raw_answers)?;
        for (source, parsed) in &mut feeds {
            gate.pass(kind, &source.terms(), parsed)?;
        }
        contents.kinds.push((kind, feeds));
    }
    contents.passed = gate.into_passed();
    contents.raw_answers = raw_answers.into_iter().collect();
    options.progress.set_message("writing the snapshot");
    let store = SnapshotStore::local(options.data_dir);
    // A local store waits for nothing but the disk, so it needs no runtime.
    let refs = refs_of(&universe.id);
    let refs: Vec<&str> = refs.iter().map(String::as_str).collect();
    let Published { id, was_there } = futures::executor::block_on(store.publish(&contents, &refs))?;
    let count = |feeds: &[(FeedSource, Parsed)]| -> usize {
        feeds.iter().map(|(_, parsed)| parsed.batch.num_rows()).sum()
    };
    let records = contents.kinds.iter().map(|(kind, feeds)| (*kind, count(feeds))).collect();
    let feeds = contents.kinds.into_iter().flat_map(|(_, feeds)| feeds);
    let rejected: Vec<Rejected> = feeds.flat_map(|(_, parsed)| parsed.rejected).collect();
    let mut held = contents.passed.quarantine;
    held.retain(|entry| entry.digest.is_some());
    let released = contents.passed.releases.len();
    tracing::info!(
        snapshot.id = %id, was_there, rejected = rejected.len(), held = held.len(), released,
        "built snapshot"
    );
    let dir = store.dir(id);
    Ok(BuildReport { id, dir, already_built: was_there, records, rejected, held, released })
}

/// Refuses a table of which nothing could be read, and prices of which there are none: one
/// mistake in a mapping would leave a snapshot without data.
fn check_read(
    universe: &Universe,
    kind: Kind,
    source: &FeedSource,
    parsed: &Parsed,
) -> Result<(), LakeError> {
    let reason = match parsed.rejected.first().filter(|_| parsed.batch.num_rows() == 0) {
        Some(Rejected { place, reason, .. }) => format!(
            "none of its {} records can be read; of the first, {place}: {reason}",
            parsed.rejected.len()
        ),
        None if kind == Kind::Bars && parsed.batch.num_rows() == 0 => {
            let tickers = universe.names.iter().map(|name| name.ticker.as_str());
            let some = tickers.take(NAMED_MAX).collect::<Vec<_>>().join(", ");
            format!("it has no bar of {some}: look at `names`, and at what `ticker` is mapped to")
        }
        None => return Ok(()),
    };
    let origin = format!("universe {}, feed {} of {}", universe.id, kind.key(), source.id);
    Err(LakeError::Config { origin, reason })
}

/// Reads a quarantined record as its source gives it: columns by name, unmasked, for the
/// eyes of a reviewer. Fetches what the cache lacks. Blocks.
///
/// # Errors
/// Fails when the record could not be read in the first place, when the source has it no
/// longer or with another content, and as building does.
pub fn quarantined_record(
    options: &BuildOptions<'_>,
    entry: &Quarantined,
) -> Result<Vec<(String, String)>, LakeError> {
    let refuse =
        |reason: &str| LakeError::NotReleasable { id: entry.id.short(), reason: reason.to_owned() };
    let Some(digest) = entry.digest else {
        return Err(refuse("it could not be read; what there is of it stands in the quarantine"));
    };
    for (source, Parsed { batch, .. }) in parse_kind(options, entry.kind, &mut BTreeSet::new())? {
        if source.id != entry.source_id {
            continue;
        }
        for row in 0..batch.num_rows() {
            let is_it = text(&batch, "record_id", row) == entry.place;
            if is_it && content_digest(&batch, row)? == digest {
                let values = row_values(&batch, row)?.into_iter();
                return Ok(values.filter_map(|(name, value)| Some((name, value?))).collect());
            }
        }
    }
    Err(refuse("its source does not hold this content any more; run `r2r data build`"))
}

/// Reads all feeds of a kind; `raw_answers` gets what those of live providers are from.
fn parse_kind(
    options: &BuildOptions<'_>,
    kind: Kind,
    raw_answers: &mut BTreeSet<RawAnswer>,
) -> Result<Vec<(FeedSource, Parsed)>, LakeError> {
    let universe = options.universe;
    let cache = PackageCache::new(options.data_dir.join("packages"));
    let of_package =
        |source, parsed: Parsed| (FeedSource::of_package(source, &parsed.members), parsed);
    let reading = |title: &str| {
        options.progress.set_message(format!("reading {} of {title}", kind.table()));
    };
    let mut found = Vec::new();
    for config in universe.feeds.iter().filter(|feed| feed.kind == kind) {
        let (id, format) = match universe.origin(config)? {
            Origin::Source { id, format } => (id, format),
            Origin::Provider(id) => {
                let provider = options.providers.get(id)?;
                reading(&provider.title);
                let live = read_live(options.data_dir, universe, config, provider)?;
                let Live { source, parsed, answers } = live;
                if kind == Kind::Bars {
                    check_read(universe, kind, &source, &parsed)?;
                }
                raw_answers.extend(answers);
                found.push((source, parsed));
                continue;
            }
        };
        let source = options.sources.get(id)?;
        let archive = cache.fetch(source, options.progress)?;
        reading(&source.title());
        let feed = Feed {
            source,
            archive: &archive,
            kind,
            role: config.role(),
            parts: &config.parts,
            undo_splits: config.undo_splits,
        };
        let (source, parsed) = of_package(source, records::read(&feed, universe, config, format)?);
        if format == Format::Table || kind == Kind::Bars {
            check_read(universe, kind, &source, &parsed)?;
        }
        found.push((source, parsed));
    }
    if kind == Kind::Actions && !universe.splits.is_empty() {
        let source = options.sources.get(universe.split_source()?)?;
        found.push(of_package(source, records::stated_splits(source, universe)?));
    }
    if kind == Kind::Macro && !universe.macro_series.is_empty() {
        let source = options.sources.get(macro_source(universe)?)?;
        let archive = cache.fetch(source, options.progress)?;
        let feed = Feed {
            source,
            archive: &archive,
            kind,
            role: kind.key(),
            parts: &[],
            undo_splits: false,
        };
        let parsed = records::finish(records::read_macros(&feed, universe)?)?;
        found.push(of_package(source, parsed));
    }
    Ok(found)
}

/// One file has one source: the macro series of a universe share theirs.
fn macro_source(universe: &Universe) -> Result<&String, LakeError> {
    let mut ids = universe.macro_series.iter().map(|m| &m.source);
    let first = ids.next();
    match first {
        Some(id) if ids.all(|other| other == id) => Ok(id),
        _ => Err(LakeError::Config {
            origin: format!("universe {}", universe.id),
            reason: "its macro series must come from one source".to_owned(),
        }),
    }
}
