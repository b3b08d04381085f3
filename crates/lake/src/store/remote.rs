//! A store in an object store: S3, Google Cloud Storage, or memory in tests.
//!
//! There is no lock that would end with its process. A process instead announces
//! its work in a file under `writers/`, then looks at those of others. Object stores
//! show a finished put to every later listing, so of two processes at least one
//! sees the other. Builders stand each other; a process that removes files does
//! not start beside anybody, and nobody starts beside it. An announcement older
//! than [`LEASE`] is a dead process's and does not count; a living process stops
//! its work well before.

use std::{path::PathBuf, sync::Arc, time::Duration, time::Instant};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use datafusion::object_store::{
    Error, GetOptions, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode,
    PutPayload, PutResult, UpdateVersion, path::Path,
};
use futures::TryStreamExt as _;

use super::files::{Entry, Held, Work};
use crate::LakeError;

/// Directory of announcements.
const WRITERS: &str = "writers";
/// Age from which an announcement no longer counts.
const LEASE: TimeDelta = TimeDelta::hours(1);
/// Time after which a living process stops, well before others disregard it.
const WORK_MAX: Duration = Duration::from_secs(50 * 60);

/// A bucket, and a prefix in it.
#[derive(Debug)]
pub(super) struct RemoteFiles {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// For messages, without a slash at the end.
    url: String,
}

/// An announcement in `writers/`.
#[derive(Debug)]
pub(super) struct Announced {
    path: String,
    since: Instant,
}

impl RemoteFiles {
    pub(super) fn new(store: Arc<dyn ObjectStore>, prefix: Path, url: &str) -> Self {
        Self { store, prefix, url: url.trim_end_matches('/').to_owned() }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn place(&self, path: &str) -> PathBuf {
        format!("{}/{path}", self.url).into()
    }

    /// Paths of this crate are made of characters that need no escape.
    fn full(&self, path: &str) -> Path {
        path.split('/').fold(self.prefix.clone(), |full, part| full.join(part))
    }

    fn failed(&self, action: &'static str, path: &str) -> impl FnOnce(Error) -> LakeError {
        let place = self.place(path);
        move |source| LakeError::Store { action, place, source: Box::new(source) }
    }

    pub(super) async fn get(&self, path: &str) -> Result<Option<Held>, LakeError> {
        let found = match self.store.get_opts(&self.full(path), GetOptions::default()).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(self.failed("read", path)(e)),
        };
        let GetResult { meta: ObjectMeta { e_tag, version, .. }, .. } = &found;
        let version = UpdateVersion { e_tag: e_tag.clone(), version: version.clone() };
        let bytes = found.bytes().await.map_err(self.failed("read", path))?;
        Ok(Some(Held { bytes, version }))
    }

    pub(super) async fn has(&self, path: &str, bytes: u64) -> Result<bool, LakeError> {
        match self.store.head(&self.full(path)).await {
            Ok(meta) => Ok(meta.size == bytes),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(e) => Err(self.failed("look at", path)(e)),
        }
    }

    async fn put(&self, path: &str, bytes: Bytes, mode: PutMode) -> Result<PutResult, Error> {
        self.store.put_opts(&self.full(path), PutPayload::from(bytes), mode.into()).await
    }

    pub(super) async fn create(&self, path: &str, bytes: Bytes) -> Result<bool, LakeError> {
        match self.put(path, bytes, PutMode::Create).await {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. }) => Ok(false),
            Err(e) => Err(self.failed("write", path)(e)),
        }
    }

    pub(super) async fn replace(&self, path: &str, bytes: Bytes) -> Result<(), LakeError> {
        self.put(path, bytes, PutMode::Overwrite).await.map_err(self.failed("write", path))?;
        Ok(())
    }

    pub(super) async fn swap(
        &self,
        path: &str,
        old: Option<&Held>,
        bytes: Bytes,
    ) -> Result<bool, LakeError> {
        let mode = old.map_or(PutMode::Create, |old| PutMode::Update(old.version.clone()));
        match self.put(path, bytes.clone(), mode).await {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                // A put that was sent again after a lost answer finds itself there.
                Ok(self.get(path).await?.is_some_and(|now| now.bytes == bytes))
            }
            Err(e) => Err(self.failed("write", path)(e)),
        }
    }

    async fn metas(&self, dir: &str) -> Result<Vec<ObjectMeta>, LakeError> {
        let listed = self.store.list(Some(&self.full(dir))).try_collect::<Vec<_>>().await;
        listed.map_err(self.failed("list", dir))
    }

    fn relative(&self, location: &Path) -> String {
        let path = location.as_ref();
        path.strip_prefix(self.prefix.as_ref()).unwrap_or(path).trim_start_matches('/').to_owned()
    }

    fn entry(&self, meta: &ObjectMeta) -> Entry {
        Entry { path: self.relative(&meta.location), bytes: meta.size }
    }

    pub(super) async fn list(&self, dir: &str) -> Result<Vec<Entry>, LakeError> {
        let mut entries: Vec<Entry> =
            self.metas(dir).await?.iter().map(|meta| self.entry(meta)).collect();
        entries.sort();
        Ok(entries)
    }

    pub(super) async fn remove(&self, path: &str) -> Result<(), LakeError> {
        match self.store.delete(&self.full(path)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(self.failed("remove", path)(e)),
        }
    }

    /// Announces work; fails where another process's could clash.
    pub(super) async fn announce(&self, work: Work) -> Result<Announced, LakeError> {
        let key = match work {
            Work::Publish => "publish",
            Work::Collect => "collect",
        };
        let path = format!("{WRITERS}/{key}-{}", uuid::Uuid::new_v4());
        let since = Instant::now();
        self.replace(&path, Bytes::from_static(b"{}\n")).await?;
        let announced = Announced { path, since };
        let metas = self.metas(WRITERS).await?;
        // The store's own clock, as it dated the file just written.
        let now = latest(&metas);
        let clash = metas.iter().find(|meta| {
            let other = self.relative(&meta.location);
            let counts = other != announced.path && !is_dead(meta, now);
            counts && (work == Work::Collect || other.starts_with("writers/collect-"))
        });
        let Some(clash) = clash else {
            return Ok(announced);
        };
        let place = self.place(&self.relative(&clash.location));
        self.retract(announced).await?;
        Err(LakeError::StoreBusy { place, since: clash.last_modified })
    }

    pub(super) fn check(&self, announced: &Announced) -> Result<(), LakeError> {
        if announced.since.elapsed() < WORK_MAX {
            return Ok(());
        }
        Err(LakeError::TooSlow { url: self.url.clone(), minutes: WORK_MAX.as_secs() / 60 })
    }

    pub(super) async fn retract(&self, announced: Announced) -> Result<(), LakeError> {
        self.remove(&announced.path).await
    }

    /// Announcements that no longer count.
    pub(super) async fn leftovers(&self) -> Result<Vec<Entry>, LakeError> {
        let metas = self.metas(WRITERS).await?;
        let now = latest(&metas);
        Ok(metas.iter().filter(|meta| is_dead(meta, now)).map(|meta| self.entry(meta)).collect())
    }
}

fn latest(metas: &[ObjectMeta]) -> Option<DateTime<Utc>> {
    metas.iter().map(|meta| meta.last_modified).max()
}

fn is_dead(meta: &ObjectMeta, now: Option<DateTime<Utc>>) -> bool {
    now.is_some_and(|now| now - meta.last_modified > LEASE)
}
