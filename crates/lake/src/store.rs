//! The snapshot store: immutable snapshots that share their files.
//!
//! ```text
//! objects/<sha256>.parquet        records of one kind, source and year; named by its bytes
//! snapshots/<id>/manifest.json    which objects make the snapshot, and where they come from
//! snapshots/<id>/quarantine.jsonl the records that could not be read
//! refs/<name>                     the id a name stands for: CURRENT, one per universe
//! ```
//! Objects are written first, then the manifest, then the references; every put
//! is atomic. A snapshot exists when its manifest does, so a crash between any two
//! writes leaves objects nobody names, which the next build uses or [`SnapshotStore::gc`]
//! removes, and never half a snapshot. The root is a local directory, or a prefix
//! in S3 or Google Cloud Storage.

mod diff;
mod encode;
mod files;
mod gc;
mod local;
mod manifest;
mod names;
mod publish;
mod read;
mod remote;
#[cfg(test)]
mod tests;
mod verify;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use datafusion::object_store::parse_url_opts;
use domain::Digest;

pub use self::{
    diff::{Change, ChangedRecord, SnapshotDiff, SourceDiff},
    gc::{GcOptions, GcReport},
    manifest::{
        DataSource, DateRange, FeatureRef, MANIFEST_SCHEMA, MANIFEST_VERSION, Manifest, PackageRef,
        Quarantine, RawAnswer, SourceTotals, UniverseInfo, validate,
    },
    publish::CopyReport,
    verify::VerifyReport,
};
pub(crate) use self::{
    encode::write_parquet,
    publish::{Contents, FeedSource, Published},
};
use self::{
    files::{Files, Guard, Held, Work},
    local::LocalFiles,
    manifest::Refused,
    remote::RemoteFiles,
};
use crate::{DEFAULT_UNIVERSE, LakeError, Universe};

/// The reference to the snapshot of the default universe that was built last.
pub(crate) const CURRENT: &str = "CURRENT";

/// Shorter beginnings of an id are not looked up.
const ID_PREFIX_MIN: usize = 4;

/// A place that holds snapshots.
///
/// Cheap to open: nothing is read before it is asked for. Local files are read and
/// written on the calling thread; object stores need a Tokio runtime.
#[derive(Debug)]
pub struct SnapshotStore {
    files: Files,
}

/// A snapshot of a store.
#[derive(Debug)]
pub struct ListedSnapshot {
    /// Name of its directory: the id, where nobody renamed it.
    pub id: String,
    /// The references that name it.
    pub refs: Vec<String>,
    /// The manifest, or why it cannot be used.
    pub manifest: Result<Manifest, LakeError>,
}

impl SnapshotStore {
    /// Uses a local directory, which is created when something is written.
    #[must_use]
    pub fn local(root: &Path) -> Self {
        Self { files: Files::Local(LocalFiles::new(root)) }
    }

    /// Opens `s3://bucket/prefix`, `gs://bucket/prefix`, `file:///path` or a path.
    /// Keys, region and endpoint come from the environment, as `AWS_...` and
    /// `GOOGLE_...` name them.
    ///
    /// # Errors
    /// As [`SnapshotStore::open_with`].
    pub fn open(url: &str) -> Result<Self, LakeError> {
        let variables = std::env::vars_os().filter_map(|(key, value)| {
            let (key, value) = (key.into_string().ok()?, value.into_string().ok()?);
            (key.starts_with("AWS_") || key.starts_with("GOOGLE_")).then_some((key, value))
        });
        Self::open_with(url, variables)
    }

    /// Opens a store with given options instead of the environment's, such as
    /// `aws_endpoint`.
    ///
    /// # Errors
    /// Fails on another kind of URL, and on options that contradict each other.
    pub fn open_with(
        url: &str,
        options: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, LakeError> {
        let invalid = |reason: String| LakeError::Config { origin: format!("store {url}"), reason };
        match url.split_once("://") {
            None => return Ok(Self::local(Path::new(url))),
            Some(("file", path)) => return Ok(Self::local(Path::new(path))),
            Some(("s3" | "gs", _)) => {}
            Some(_) => {
                let reason = "it is neither a path nor s3://..., gs://... or file://...";
                return Err(invalid(reason.to_owned()));
            }
        }
        let parsed = url::Url::parse(url).map_err(|e| invalid(e.to_string()))?;
        let (store, prefix) =
            parse_url_opts(&parsed, options).map_err(|e| invalid(e.to_string()))?;
        Ok(Self { files: Files::Remote(RemoteFiles::new(store.into(), prefix, url)) })
    }

    /// Returns how messages call the store.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.files {
            Files::Local(files) => files.root().display().to_string(),
            Files::Remote(files) => files.url().to_owned(),
        }
    }

    /// Returns where the manifest and the rejected records of a snapshot lie.
    #[must_use]
    pub fn dir(&self, id: Digest) -> PathBuf {
        self.files.place(&names::snapshot(id))
    }

    /// Returns where packages lie beside a local store. A store elsewhere has none, so a
    /// snapshot of it opens only where texts are ranked without weights.
    #[must_use]
    pub(crate) fn packages_dir(&self) -> PathBuf {
        match &self.files {
            Files::Local(files) => files.root().join("packages"),
            Files::Remote(_) => PathBuf::from("data/packages"),
        }
    }

    /// Lists all snapshots, the newest first, those that cannot be used last.
    ///
    /// # Errors
    /// Fails when the store cannot be read.
    pub async fn list(&self) -> Result<Vec<ListedSnapshot>, LakeError> {
        let refs = self.refs().await?;
        let mut found = Vec::new();
        for entry in self.files.list(names::SNAPSHOTS).await? {
            let Some(owner) = names::manifest_owner(&entry.path) else { continue };
            let names = refs.iter().filter(|(_, id)| id.to_string() == owner);
            found.push(ListedSnapshot {
                id: owner.to_owned(),
                refs: names.map(|(name, _)| name.clone()).collect(),
                manifest: self.read_manifest(owner).await,
            });
        }
        let age = |snapshot: &ListedSnapshot| {
            snapshot.manifest.as_ref().map(|manifest| manifest.created_at).ok()
        };
        found.sort_by(|a, b| age(b).cmp(&age(a)).then_with(|| a.id.cmp(&b.id)));
        Ok(found)
    }

    /// Returns what each reference names. One that names nothing is left out;
    /// [`SnapshotStore::verify`] reports it.
    ///
    /// # Errors
    /// Fails when the store cannot be read.
    pub async fn refs(&self) -> Result<BTreeMap<String, Digest>, LakeError> {
        let mut refs = BTreeMap::new();
        for (name, id) in self.read_refs().await? {
            if let Ok(id) = id {
                refs.insert(name, id);
            }
        }
        Ok(refs)
    }

    /// Returns the snapshot that a reference, an id, or the beginning of one names.
    ///
    /// # Errors
    /// Fails when there is none, or several.
    pub async fn resolve(&self, name: &str) -> Result<Digest, LakeError> {
        if let Ok(id) = name.parse::<Digest>() {
            return match self.files.get(&names::manifest(id)).await? {
                Some(_) => Ok(id),
                None => Err(LakeError::NoSnapshot { path: self.dir(id) }),
            };
        }
        if let Some(path) = names::reference(name)
            && let Some(held) = self.files.get(&path).await?
        {
            return self.ref_target(&path, &held);
        }
        if name == CURRENT {
            return Err(self.no_current(CURRENT).await);
        }
        self.resolve_prefix(name).await
    }

    /// Returns the snapshot of a universe that was built last.
    ///
    /// # Errors
    /// Fails when there is none.
    pub async fn current(&self, universe: &str) -> Result<Digest, LakeError> {
        let names = refs_of(universe);
        let name = names.last().map_or(universe, String::as_str);
        let held = self.hold_refs(&[name]).await?.into_iter().next();
        match held {
            Some((path, Some(held))) => self.ref_target(&path, &held),
            _ => Err(self.no_current(name).await),
        }
    }

    /// Returns the universes that have a current snapshot.
    async fn built(&self) -> Result<Vec<String>, LakeError> {
        let names = self.refs().await?.into_keys();
        Ok(names.filter(|name| name != CURRENT).collect())
    }

    async fn no_current(&self, name: &str) -> LakeError {
        let of_version_1 = match name {
            CURRENT => names::OLD_CURRENT.to_owned(),
            universe => format!("{}-{universe}", names::OLD_CURRENT),
        };
        match self.files.get(&of_version_1).await {
            Ok(None) => LakeError::NoUniverse {
                name: if name == CURRENT { DEFAULT_UNIVERSE } else { name }.to_owned(),
                place: self.files.place(names::REFS),
                built: self.built().await.unwrap_or_default(),
                known: Universe::builtin_ids().collect(),
            },
            Ok(Some(_)) => LakeError::OldSnapshot { path: self.files.place(names::SNAPSHOTS) },
            Err(error) => error,
        }
    }

    async fn resolve_prefix(&self, name: &str) -> Result<Digest, LakeError> {
        let is_prefix = name.len() >= ID_PREFIX_MIN && name.chars().all(|c| c.is_ascii_hexdigit());
        let lower = name.to_ascii_lowercase();
        let entries = self.files.list(names::SNAPSHOTS).await?;
        let owners = entries.iter().filter_map(|entry| names::manifest_owner(&entry.path));
        let ids: Vec<Digest> = owners
            .filter(|owner| is_prefix && owner.starts_with(&lower))
            .filter_map(|owner| owner.parse().ok())
            .collect();
        match ids.as_slice() {
            [only] => Ok(*only),
            [] => Err(LakeError::UnknownSnapshot {
                name: name.to_owned(),
                url: self.url(),
                refs: self.refs().await?.into_keys().collect(),
            }),
            _ => Err(LakeError::AmbiguousSnapshot { name: name.to_owned(), ids }),
        }
    }

    /// Reads the manifest of a snapshot and checks it against its schema, its
    /// hash and its seal.
    ///
    /// # Errors
    /// Fails when it is missing, of an older version, or not as it was written.
    pub async fn manifest(&self, id: Digest) -> Result<Manifest, LakeError> {
        self.read_manifest(&id.to_string()).await
    }

    async fn read_manifest(&self, owner: &str) -> Result<Manifest, LakeError> {
        let path = names::manifest(owner);
        let Some(held) = self.files.get(&path).await? else {
            return Err(LakeError::NoSnapshot { path: self.files.place(&names::snapshot(owner)) });
        };
        let bad = |reason| LakeError::BadSnapshot { path: self.files.place(&path), reason };
        let text = std::str::from_utf8(&held.bytes)
            .map_err(|e| bad(format!("manifest.json is not text: {e}")))?;
        let manifest = Manifest::accept(text).map_err(|refused| match refused {
            Refused::Old => {
                LakeError::OldSnapshot { path: self.files.place(&names::snapshot(owner)) }
            }
            Refused::Bad(reason) => bad(reason),
        })?;
        if manifest.hash.to_string() != owner {
            return Err(bad(format!("its directory is not named by its hash {}", manifest.hash)));
        }
        Ok(manifest)
    }

    /// Makes a reference name a snapshot.
    ///
    /// # Errors
    /// Fails when the name cannot be one, the snapshot is not there or not whole
    /// in its manifest, or somebody else moves the reference at the same time.
    pub async fn point(&self, name: &str, id: Digest) -> Result<(), LakeError> {
        self.guarded(Work::Publish, async |_| {
            // Nobody removes it from here on.
            let universe = self.manifest(id).await?.universe.id;
            if universe != name && self.is_universe(name).await? {
                return Err(LakeError::Config {
                    origin: format!("reference {name:?}"),
                    reason: format!("it is a universe's, and this is a snapshot of {universe}: take another name"),
                });
            }
            let held = self.hold_refs(&[name]).await?;
            self.move_refs(held, id).await
        })
        .await
    }

    /// Tells whether a reference is that of a universe.
    async fn is_universe(&self, name: &str) -> Result<bool, LakeError> {
        if Universe::builtin_ids().any(|id| id.eq_ignore_ascii_case(name)) {
            return Ok(true);
        }
        let Some(id) = self.refs().await?.get(name).copied() else { return Ok(false) };
        // What a reference to a damaged snapshot stood for does not matter.
        Ok(self.manifest(id).await.is_ok_and(|manifest| manifest.universe.id == name))
    }

    /// Reads references before they are moved. What a damaged one says does not
    /// matter for that.
    async fn hold_refs(&self, names: &[&str]) -> Result<Vec<(String, Option<Held>)>, LakeError> {
        let mut held = Vec::new();
        for name in names {
            let path = names::reference(name).ok_or_else(|| LakeError::Config {
                origin: format!("reference {name:?}"),
                reason: "it takes letters, digits, '.', '_' and '-', starts with a letter or \
                         digit, and is not an id"
                    .to_owned(),
            })?;
            let now = self.files.get(&path).await?;
            held.push((path, now));
        }
        Ok(held)
    }

    async fn move_refs(
        &self,
        held: Vec<(String, Option<Held>)>,
        id: Digest,
    ) -> Result<(), LakeError> {
        let text = format!("{id}\n");
        for (path, old) in held {
            let is_there = old.as_ref().is_some_and(|held| held.bytes == text.as_bytes());
            if !is_there && !self.files.swap(&path, old.as_ref(), text.clone().into()).await? {
                return Err(LakeError::RefMoved { path: self.files.place(&path) });
            }
        }
        Ok(())
    }

    async fn read_refs(&self) -> Result<Vec<(String, Result<Digest, LakeError>)>, LakeError> {
        let mut refs = Vec::new();
        for entry in self.files.list(names::REFS).await? {
            let name = entry.path.split_once('/').map_or("", |(_, name)| name);
            // It may have been removed since.
            if let Some(held) = self.files.get(&entry.path).await? {
                refs.push((name.to_owned(), self.ref_target(&entry.path, &held)));
            }
        }
        Ok(refs)
    }

    fn ref_target(&self, path: &str, held: &Held) -> Result<Digest, LakeError> {
        let text = std::str::from_utf8(&held.bytes).unwrap_or_default();
        let id = text.strip_suffix('\n').and_then(|id| id.parse::<Digest>().ok());
        // Only what was written counts: upper-case digits are damage, too.
        id.filter(|id| format!("{id}\n") == text).ok_or_else(|| LakeError::BadRef {
            path: self.files.place(path),
            reason: "it does not hold a snapshot id".to_owned(),
        })
    }

    /// Works on the store under its guard, which ends however the work does.
    async fn guarded<T>(
        &self,
        work: Work,
        run: impl AsyncFnOnce(&Guard) -> Result<T, LakeError>,
    ) -> Result<T, LakeError> {
        let guard = self.files.begin(work).await?;
        let done = run(&guard).await;
        let ended = self.files.end(guard).await;
        let done = done?;
        ended.map(|()| done)
    }
}

/// Returns the references to the snapshot of a universe that was built last: its
/// name, and CURRENT for the default one.
pub(crate) fn refs_of(universe: &str) -> Vec<String> {
    let name = universe.to_uppercase();
    let is_default = name == DEFAULT_UNIVERSE;
    [Some(name), is_default.then(|| CURRENT.to_owned())].into_iter().flatten().collect()
}
