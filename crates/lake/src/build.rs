//! Builds a snapshot: all feeds of a universe to Parquet and a manifest, in a
//! directory named by the hash of its content.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use datafusion::{
    arrow::{
        array::{AsArray, RecordBatch},
        datatypes::TimestampMicrosecondType,
    },
    parquet::{
        arrow::ArrowWriter,
        basic::{Compression, ZstdLevel},
        file::properties::WriterProperties,
    },
};
use domain::{Clock, Digest, Ticker};
use indicatif::ProgressBar;

use crate::{
    DataSource, DateRange, Kind, LakeError, MANIFEST_VERSION, Manifest, PackageCache, PackageRef,
    Rejected, Source, SourceList, Universe, UniverseInfo,
    archive::readable_temp_file,
    package::{lock_dir, remove_leftovers},
    records::{self, Feed, Parsed},
    snapshot::{current_file, references},
    tables::Tables,
};

/// Prefix of directories a snapshot is made in; one left over is removed.
const BUILDING: &str = ".building-";

/// What a build needs.
#[derive(Clone, Copy)]
pub struct BuildOptions<'a> {
    /// Root of the data: `packages/` is the cache, `snapshots/` the result.
    pub data_dir: &'a Path,
    /// The names and feeds.
    pub universe: &'a Universe,
    /// The allowlist.
    pub sources: &'a SourceList,
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
    /// Where it lies.
    pub dir: PathBuf,
    /// The same data had been built before; nothing was written.
    pub already_built: bool,
    /// Records per kind.
    pub records: Vec<(Kind, usize)>,
    /// Records that could not be read; also in `quarantine.jsonl` of the snapshot.
    pub rejected: Vec<Rejected>,
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

/// Builds the snapshot of a universe and makes it the current one. Fetches what
/// the cache lacks. Blocks.
///
/// The same packages, universe and features give the same id and the same bytes;
/// a second build writes nothing. A killed build leaves no snapshot behind.
///
/// # Errors
/// Refuses sources that are not listed or licensed; fails when a package cannot
/// be fetched or read, or the result cannot be written.
pub fn build_snapshot(options: &BuildOptions<'_>) -> Result<BuildReport, LakeError> {
    let snapshots = options.data_dir.join("snapshots");
    fs::create_dir_all(&snapshots).map_err(LakeError::io("create", &snapshots))?;
    let _lock = lock_dir(&snapshots)?;
    remove_leftovers(&snapshots, BUILDING)?;
    let temp = tempfile::Builder::new()
        .prefix(BUILDING)
        .tempdir_in(&snapshots)
        .map_err(LakeError::io("create a directory in", &snapshots))?;
    if let Some(weights) = &options.universe.retrieval.weights {
        // A snapshot that could not be read is not built.
        let cache = PackageCache::new(options.data_dir.join("packages"));
        cache.fetch(options.sources.get(weights)?, options.progress)?;
    }
    let mut data_sources = Vec::new();
    let (mut records, mut rejected) = (Vec::new(), Vec::new());
    for kind in Kind::ALL {
        let mut count = 0;
        for (n, (source, parsed)) in parse_kind(options, kind)?.into_iter().enumerate() {
            options.progress.set_message(format!("writing {}", kind.file(n)));
            let path = temp.path().join(kind.file(n));
            write_parquet(&path, &parsed.batch)?;
            data_sources.push(data_source(kind, source, &parsed, &path)?);
            count += parsed.batch.num_rows();
            rejected.extend(parsed.rejected);
        }
        records.push((kind, count));
    }
    let manifest = manifest(options, data_sources)?;
    let id = manifest.hash;
    let dir = snapshots.join(id.to_string());
    let already_built = dir.join("manifest.json").exists();
    if !already_built {
        write_synced(&temp.path().join("quarantine.jsonl"), &json_lines(&rejected)?)?;
        let text = manifest.render().map_err(|e| serialisation(&dir, &e))?;
        write_synced(&temp.path().join("manifest.json"), text.as_bytes())?;
        sync_dir(temp.path())?;
        fs::rename(temp.path(), &dir).map_err(LakeError::io("move a snapshot to", &dir))?;
        sync_dir(&snapshots)?;
    }
    point_current(&snapshots.join(current_file(&options.universe.id)), id)?;
    tracing::info!(snapshot.id = %id, already_built, rejected = rejected.len(), "built snapshot");
    Ok(BuildReport { id, dir, already_built, records, rejected })
}

/// Reads all feeds of a kind.
fn parse_kind<'a>(
    options: &BuildOptions<'a>,
    kind: Kind,
) -> Result<Vec<(&'a Source, Parsed)>, LakeError> {
    let universe = options.universe;
    let cache = PackageCache::new(options.data_dir.join("packages"));
    let mut found = Vec::new();
    for config in universe.feeds.iter().filter(|feed| feed.kind == kind) {
        let source = options.sources.get(&config.source)?;
        let archive = cache.fetch(source, options.progress)?;
        options.progress.set_message(format!("reading {} of {}", kind.table(), source.title()));
        let feed = Feed {
            source,
            archive: &archive,
            kind,
            role: config.role(),
            parts: &config.parts,
            undo_splits: config.undo_splits,
        };
        found.push((source, records::read(&feed, universe, config)?));
    }
    if kind == Kind::Actions && !universe.splits.is_empty() {
        let of_bars = universe.feeds.iter().find(|feed| feed.kind == Kind::Bars);
        let source = options.sources.get(of_bars.map_or("", |feed| &feed.source))?;
        found.push((source, records::stated_splits(source, universe)?));
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
        found.push((source, records::finish(records::read_macros(&feed, universe)?)?));
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

fn data_source(
    kind: Kind,
    source: &Source,
    parsed: &Parsed,
    file: &Path,
) -> Result<DataSource, LakeError> {
    let opened = File::open(file).map_err(LakeError::io("open", file))?;
    let tables = Tables::new([(kind, parsed.batch.clone())].into())?;
    let tickers = tables.tickers(kind).into_iter().filter(|_| kind.has_ticker());
    let tickers = tickers.filter_map(|t| t.parse::<Ticker>().ok()).collect();
    Ok(DataSource {
        source_type: kind,
        source_id: source.id.clone(),
        title: source.title(),
        url: match parsed.members.as_slice() {
            [only] => source.url(only),
            // Which of several files a value rests on depends on the ticker.
            _ => source.package_url(),
        },
        package: PackageRef {
            name: source.package.clone(),
            version: source.version.clone(),
            sha256: source.sha256,
        },
        licence: source.licence.clone(),
        redistributable: source.redistributable,
        members: parsed.members.clone(),
        date_range: date_range(&parsed.batch),
        record_count: parsed.batch.num_rows() as u64,
        tickers,
        file_path: file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        file_hash: Digest::of_reader(opened).map_err(LakeError::io("read", file))?,
    })
}

fn date_range(batch: &RecordBatch) -> DateRange {
    let times = batch.column_by_name("event_time");
    let times = times.map(|c| c.as_primitive::<TimestampMicrosecondType>().values().as_ref());
    let times: &[i64] = times.unwrap_or_default();
    let instant = |t: Option<&i64>| t.and_then(|t| DateTime::<Utc>::from_timestamp_micros(*t));
    DateRange { start: instant(times.iter().min()), end: instant(times.iter().max()) }
}

fn manifest(
    options: &BuildOptions<'_>,
    data_sources: Vec<DataSource>,
) -> Result<Manifest, LakeError> {
    let universe = options.universe;
    let mut manifest = Manifest {
        manifest_version: MANIFEST_VERSION,
        created_at: options.clock.now(),
        git_commit: options.git_commit.to_owned(),
        hash: Digest::of(""),
        universe: UniverseInfo {
            id: universe.id.clone(),
            title: universe.title.clone(),
            bias: universe.bias.clone(),
            names: universe.names.clone(),
        },
        data_sources,
        features: references(&crate::feature_catalogue()?),
        retrieval: universe.retrieval.reference(options.sources)?,
        labels: Vec::new(),
    };
    let dir = options.data_dir;
    manifest.hash = manifest.digest().map_err(|e| serialisation(dir, &e))?;
    let value = serde_json::to_value(&manifest).map_err(|e| serialisation(dir, &e))?;
    crate::validate(&value)
        .map_err(|reason| LakeError::BadSnapshot { path: dir.to_owned(), reason })?;
    Ok(manifest)
}

fn serialisation(path: &Path, error: &serde_json::Error) -> LakeError {
    LakeError::BadSnapshot { path: path.to_owned(), reason: error.to_string() }
}

pub(crate) fn write_parquet(path: &Path, batch: &RecordBatch) -> Result<(), LakeError> {
    // A constant creator and no other metadata: equal rows give equal bytes.
    let properties = WriterProperties::builder()
        .set_created_by("r2r".to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .build();
    let file = File::create(path).map_err(LakeError::io("create", path))?;
    let mut writer = ArrowWriter::try_new(&file, batch.schema(), Some(properties))?;
    writer.write(batch)?;
    writer.close()?;
    file.sync_all().map_err(LakeError::io("sync", path))
}

fn json_lines(rejected: &[Rejected]) -> Result<Vec<u8>, LakeError> {
    let mut lines = Vec::new();
    for record in rejected {
        let line = serde_json::to_vec(record);
        lines.extend(line.map_err(|e| serialisation(Path::new("quarantine.jsonl"), &e))?);
        lines.push(b'\n');
    }
    Ok(lines)
}

fn point_current(path: &Path, id: Digest) -> Result<(), LakeError> {
    let text = format!("{id}\n");
    if fs::read_to_string(path).is_ok_and(|now| now == text) {
        return Ok(());
    }
    let snapshots = path.parent().unwrap_or(Path::new("."));
    let mut file = readable_temp_file(snapshots).map_err(LakeError::io("create", path))?;
    file.write_all(text.as_bytes()).map_err(LakeError::io("write", path))?;
    file.as_file().sync_all().map_err(LakeError::io("sync", path))?;
    file.persist(path).map_err(|e| LakeError::io("write", path)(e.error))?;
    sync_dir(snapshots)
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), LakeError> {
    let mut file = File::create(path).map_err(LakeError::io("create", path))?;
    file.write_all(bytes).map_err(LakeError::io("write", path))?;
    file.sync_all().map_err(LakeError::io("sync", path))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), LakeError> {
    let file = File::open(dir).map_err(LakeError::io("open", dir))?;
    file.sync_all().map_err(LakeError::io("sync", dir))
}
