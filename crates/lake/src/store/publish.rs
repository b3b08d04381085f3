//! Writing snapshots: objects, then the manifest, then the references.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use domain::{Digest, Ticker};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    DataSource, FeatureRef, MANIFEST_VERSION, Manifest, PackageRef, Quarantine, RawAnswer,
    SnapshotStore, UniverseInfo, encode,
    files::{Guard, Work},
    names,
    read::{REQUESTS_MAX, Wanted},
    validate,
};
use crate::{
    Embargo, Kind, LakeError, Quarantined, RetrievalRef, Source,
    gate::{Passed, Terms},
    parallel::in_parallel,
    records::Parsed,
    tables::Tables,
};

/// What a build hands over.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) git_commit: &'a str,
    pub(crate) universe: UniverseInfo,
    pub(crate) features: Vec<FeatureRef>,
    pub(crate) retrieval: RetrievalRef,
    /// What did not come in, and what came in by a reviewer's decision.
    pub(crate) passed: Passed,
    /// The records of each kind from each of its sources.
    pub(crate) kinds: Vec<(Kind, Vec<(FeedSource, Parsed)>)>,
    /// The answers of live providers they are from, sorted.
    pub(crate) raw_answers: Vec<RawAnswer>,
}

/// Where the records of a feed are from, as the manifest tells it.
#[derive(Debug, Clone)]
pub(crate) struct FeedSource {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) url: String,
    pub(crate) package: PackageRef,
    pub(crate) licence: String,
    pub(crate) redistributable: bool,
    /// Until when nobody may know its records.
    pub(crate) embargo: Option<Embargo>,
}

impl FeedSource {
    /// Returns what the gate has to know.
    pub(crate) fn terms(&self) -> Terms<'_> {
        Terms { source_id: &self.id, embargo: self.embargo }
    }

    /// Describes some members of a package.
    pub(crate) fn of_package(source: &Source, members: &[String]) -> Self {
        let url = match members {
            [only] => source.url(only),
            // Which of several files a value rests on depends on the ticker.
            _ => source.package_url(),
        };
        let package = PackageRef {
            name: source.package.clone(),
            version: source.version.clone(),
            sha256: source.sha256,
        };
        Self {
            id: source.id.clone(),
            title: source.title(),
            url,
            package,
            licence: source.licence.clone(),
            redistributable: source.redistributable,
            embargo: source.embargo,
        }
    }
}

/// What publishing did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Published {
    pub(crate) id: Digest,
    /// The same snapshot was there before.
    pub(crate) was_there: bool,
}

/// What copying did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyReport {
    /// Files that were written.
    pub copied_files: usize,
    /// Their size.
    pub copied_bytes: u64,
    /// Files the target had from other snapshots.
    pub shared_files: usize,
}

/// An encoded file.
struct Object {
    digest: Digest,
    bytes: Bytes,
}

impl SnapshotStore {
    /// Writes a snapshot and makes the references name it. Files that are there
    /// already are shared; damaged ones are written again.
    ///
    /// # Errors
    /// Fails when the store cannot be written, somebody collects garbage in it, or
    /// somebody else moves a reference at the same time.
    pub(crate) async fn publish(
        &self,
        contents: &Contents<'_>,
        refs: &[&str],
    ) -> Result<Published, LakeError> {
        self.guarded(Work::Publish, async |guard| {
            let held = self.hold_refs(refs).await?;
            self.remove_leftovers().await?;
            let mut data_sources = Vec::new();
            let feeds = contents.kinds.iter().flat_map(|(kind, feeds)| {
                feeds.iter().map(move |(source, parsed)| (*kind, source, parsed))
            });
            for (kind, source, parsed) in feeds {
                let (entries, objects) = files(kind, source, parsed)?;
                let puts = objects.into_iter().map(|object| self.put_object(object));
                stream::iter(puts).buffered(REQUESTS_MAX).try_collect::<Vec<_>>().await?;
                data_sources.extend(entries);
            }
            let quarantine = json_lines(&contents.passed.quarantine)?;
            let manifest = manifest(contents, data_sources, &quarantine)?;
            let was_there = self.finish(guard, &manifest, quarantine).await?;
            self.move_refs(held, manifest.hash).await?;
            Ok(Published { id: manifest.hash, was_there })
        })
        .await
    }

    /// Copies a snapshot into another store, without the files that has already,
    /// and makes references there name it.
    ///
    /// # Errors
    /// Fails when the snapshot is not whole, and as publishing does.
    pub async fn copy_to(
        &self,
        id: Digest,
        target: &Self,
        refs: &[&str],
    ) -> Result<CopyReport, LakeError> {
        let manifest = self.manifest(id).await?;
        target
            .guarded(Work::Publish, async |guard| {
                let held = target.hold_refs(refs).await?;
                target.remove_leftovers().await?;
                let copies =
                    manifest.data_sources.iter().map(|source| self.copy_object(source, target));
                let copies = stream::iter(copies).buffered(REQUESTS_MAX);
                let copied: Vec<Option<u64>> = copies.try_collect().await?;
                let path = names::quarantine(id);
                let read = self.files.get(&path).await?;
                let wanted = Wanted { path, digest: manifest.quarantine.file_hash };
                target.finish(guard, &manifest, self.check(&wanted, read)?).await?;
                target.move_refs(held, id).await?;
                let copied_files = copied.iter().flatten().count();
                Ok(CopyReport {
                    copied_files,
                    copied_bytes: copied.iter().flatten().sum(),
                    shared_files: copied.len() - copied_files,
                })
            })
            .await
    }

    /// Returns the size of what was copied; none where the target had it.
    async fn copy_object(
        &self,
        source: &DataSource,
        target: &Self,
    ) -> Result<Option<u64>, LakeError> {
        let wanted = Wanted::object(source);
        if target.files.has(&wanted.path, wanted.digest, source.file_bytes).await? {
            return Ok(None);
        }
        let bytes = self.check(&wanted, self.files.get(&wanted.path).await?)?;
        target.write(&wanted.path, bytes).await?;
        Ok(Some(source.file_bytes))
    }

    async fn put_object(&self, object: Object) -> Result<(), LakeError> {
        let Object { digest, bytes } = object;
        let path = names::object(digest);
        if self.files.has(&path, digest, bytes.len() as u64).await? {
            return Ok(());
        }
        self.write(&path, bytes).await
    }

    /// Writes a content-addressed file that is not there, or not whole.
    async fn write(&self, path: &str, bytes: Bytes) -> Result<(), LakeError> {
        if !self.files.create(path, bytes.clone()).await? {
            // Another process may just have written the same; then this changes nothing.
            tracing::warn!(file = %self.files.place(path).display(), "writing again a file that was damaged");
            self.files.replace(path, bytes).await?;
        }
        Ok(())
    }

    /// Makes the snapshot exist, after its objects. Returns whether it did before.
    async fn finish(
        &self,
        guard: &Guard,
        manifest: &Manifest,
        quarantine: Bytes,
    ) -> Result<bool, LakeError> {
        let id = manifest.hash;
        let (path, digest) = (names::quarantine(id), manifest.quarantine.file_hash);
        if !self.files.has(&path, digest, quarantine.len() as u64).await? {
            self.write(&path, quarantine).await?;
        }
        self.files.settle(names::OBJECTS).await?;
        self.files.settle(&path).await?;
        self.files.check(guard)?;
        let path = names::manifest(id);
        let text = Bytes::from(manifest.render().map_err(|e| self.unwritable(&e))?);
        // It may differ in when and by which commit the same data was built.
        let was_there = !self.files.create(&path, text.clone()).await?;
        if was_there && let Err(error) = self.manifest(id).await {
            tracing::warn!(%error, "writing the manifest again");
            self.files.replace(&path, text).await?;
        }
        self.files.settle(&path).await?;
        Ok(was_there)
    }

    /// Removes what dead processes left behind. Call with the guard held.
    pub(super) async fn remove_leftovers(&self) -> Result<(), LakeError> {
        for entry in self.files.leftovers().await? {
            self.files.remove(&entry.path).await?;
        }
        Ok(())
    }

    fn unwritable(&self, error: &serde_json::Error) -> LakeError {
        unwritable(&self.url(), error)
    }
}

fn unwritable(what: &str, error: &serde_json::Error) -> LakeError {
    LakeError::BadSnapshot { path: what.into(), reason: error.to_string() }
}

/// Encodes the records of a feed: the manifest's entries and the files, in order.
fn files(
    kind: Kind,
    source: &FeedSource,
    parsed: &Parsed,
) -> Result<(Vec<DataSource>, Vec<Object>), LakeError> {
    let (mut entries, mut objects) = (Vec::new(), Vec::new());
    let file = |part: encode::Part| -> Result<(DataSource, Object), LakeError> {
        let bytes = encode::encode(&part.batch)?;
        let object = Object { digest: Digest::of(&bytes), bytes };
        Ok((entry(kind, source, &parsed.members, &part, &object)?, object))
    };
    for file in in_parallel(encode::parts(kind, &parsed.batch)?, file) {
        let (entry, object) = file?;
        entries.push(entry);
        objects.push(object);
    }
    Ok((entries, objects))
}

fn entry(
    kind: Kind,
    source: &FeedSource,
    members: &[String],
    part: &encode::Part,
    object: &Object,
) -> Result<DataSource, LakeError> {
    let tables = Tables::new([(kind, part.batch.clone())].into())?;
    let tickers = tables.tickers(kind).into_iter().filter(|_| kind.has_ticker());
    Ok(DataSource {
        source_type: kind,
        source_id: source.id.clone(),
        title: source.title.clone(),
        url: source.url.clone(),
        package: source.package.clone(),
        licence: source.licence.clone(),
        redistributable: source.redistributable,
        members: members.to_vec(),
        known_year: part.known_year,
        date_range: encode::date_range(&part.batch),
        record_count: part.batch.num_rows() as u64,
        tickers: tickers.filter_map(|t| t.parse::<Ticker>().ok()).collect(),
        file_path: names::object(object.digest),
        file_hash: object.digest,
        file_bytes: object.bytes.len() as u64,
    })
}

fn manifest(
    contents: &Contents<'_>,
    data_sources: Vec<DataSource>,
    quarantine: &Bytes,
) -> Result<Manifest, LakeError> {
    let manifest = Manifest {
        manifest_version: MANIFEST_VERSION,
        created_at: contents.created_at,
        git_commit: contents.git_commit.to_owned(),
        hash: Digest::of(""),
        seal: Digest::of(""),
        universe: contents.universe.clone(),
        data_sources,
        raw_answers: contents.raw_answers.clone(),
        quarantine: Quarantine {
            record_count: contents.passed.quarantine.len() as u64,
            file_hash: Digest::of(quarantine),
        },
        releases: contents.passed.releases.clone(),
        features: contents.features.clone(),
        retrieval: contents.retrieval.clone(),
        labels: Vec::new(),
    };
    let unwritable = |e: serde_json::Error| unwritable("manifest.json", &e);
    let manifest = manifest.sealed().map_err(unwritable)?;
    let value = serde_json::to_value(&manifest).map_err(unwritable)?;
    validate(&value)
        .map_err(|reason| LakeError::BadSnapshot { path: "manifest.json".into(), reason })?;
    Ok(manifest)
}

fn json_lines(quarantine: &[Quarantined]) -> Result<Bytes, LakeError> {
    let mut lines = Vec::new();
    for record in quarantine {
        let line = serde_json::to_vec(record);
        lines.extend(line.map_err(|e| unwritable("quarantine.jsonl", &e))?);
        lines.push(b'\n');
    }
    Ok(lines.into())
}
