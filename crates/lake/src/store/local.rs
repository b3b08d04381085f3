//! A store in a local directory. Its puts are durable: the file is synced before
//! it gets its name, and the directory before anything that relies on it.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use datafusion::object_store::UpdateVersion;
use domain::Digest;

use super::files::{Entry, Held};
use crate::{
    LakeError,
    archive::{readable_temp_file, sync_dir},
    package::lock_dir,
};

/// Directory of files that have no name yet.
const STAGING: &str = ".staging";

/// A local directory.
#[derive(Debug)]
pub(super) struct LocalFiles {
    root: PathBuf,
}

impl LocalFiles {
    pub(super) fn new(root: &Path) -> Self {
        // The empty path means the same, but cannot be opened.
        let root = if root.as_os_str().is_empty() { Path::new(".") } else { root };
        Self { root: root.to_owned() }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    pub(super) fn get(&self, path: &str) -> Result<Option<Held>, LakeError> {
        let path = self.path(path);
        match fs::read(&path) {
            Ok(bytes) => {
                let version = UpdateVersion { e_tag: None, version: None };
                Ok(Some(Held { bytes: Bytes::from(bytes), version }))
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(LakeError::io("read", &path)(e)),
        }
    }

    pub(super) fn has(&self, path: &str, digest: Digest) -> Result<bool, LakeError> {
        Ok(self.get(path)?.is_some_and(|held| Digest::of(&held.bytes) == digest))
    }

    pub(super) fn create(&self, path: &str, bytes: &[u8]) -> Result<bool, LakeError> {
        let path = self.path(path);
        if path.exists() {
            return Ok(false);
        }
        let staged = self.stage(&path, bytes)?;
        match staged.persist_noclobber(&path) {
            Ok(_) => Ok(true),
            Err(e) if e.error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(LakeError::io("write", &path)(e.error)),
        }
    }

    pub(super) fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), LakeError> {
        let path = self.path(path);
        let staged = self.stage(&path, bytes)?;
        staged.persist(&path).map_err(|e| LakeError::io("write", &path)(e.error))?;
        Ok(())
    }

    pub(super) fn swap(
        &self,
        path: &str,
        old: Option<&Held>,
        bytes: &[u8],
    ) -> Result<bool, LakeError> {
        let now = self.get(path)?;
        if now.map(|held| held.bytes) != old.map(|held| held.bytes.clone()) {
            return Ok(false);
        }
        self.replace(path, bytes)?;
        self.settle(path)?;
        Ok(true)
    }

    /// Writes a file without a name, in the same file system as `path`.
    fn stage(&self, path: &Path, bytes: &[u8]) -> Result<tempfile::NamedTempFile, LakeError> {
        let staging = self.path(STAGING);
        for dir in [Some(staging.as_path()), path.parent()].into_iter().flatten() {
            fs::create_dir_all(dir).map_err(LakeError::io("create", dir))?;
        }
        let mut file =
            readable_temp_file(&staging).map_err(LakeError::io("create a file in", &staging))?;
        file.write_all(bytes).map_err(LakeError::io("write", path))?;
        file.as_file().sync_all().map_err(LakeError::io("sync", path))?;
        Ok(file)
    }

    pub(super) fn list(&self, dir: &str) -> Result<Vec<Entry>, LakeError> {
        let mut entries = Vec::new();
        self.collect(dir, &mut entries)?;
        entries.sort();
        Ok(entries)
    }

    fn collect(&self, dir: &str, into: &mut Vec<Entry>) -> Result<(), LakeError> {
        let path = self.path(dir);
        let found = match fs::read_dir(&path) {
            Ok(found) => found,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(LakeError::io("list", &path)(e)),
        };
        for entry in found {
            let entry = entry.map_err(LakeError::io("list", &path))?;
            let name = format!("{dir}/{}", entry.file_name().to_string_lossy());
            let metadata = entry.metadata().map_err(LakeError::io("look at", &entry.path()))?;
            if metadata.is_dir() {
                self.collect(&name, into)?;
            } else {
                into.push(Entry { path: name, bytes: metadata.len() });
            }
        }
        Ok(())
    }

    /// Removes a file, and its directory where that is a snapshot's and now empty.
    pub(super) fn remove(&self, path: &str) -> Result<(), LakeError> {
        let file = self.path(path);
        match fs::remove_file(&file) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(LakeError::io("remove", &file)(e));
            }
            _ => {}
        }
        let Some(dir) = file.parent().filter(|dir| dir.parent() != Some(self.root.as_path()))
        else {
            return Ok(());
        };
        match fs::remove_dir(dir) {
            Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {
                Err(LakeError::io("remove", dir)(e))
            }
            _ => Ok(()),
        }
    }

    /// Syncs a directory, or that of a file, and those above it up to the root.
    pub(super) fn settle(&self, path: &str) -> Result<(), LakeError> {
        let path = self.path(path);
        for dir in path.ancestors().filter(|dir| dir.starts_with(&self.root) && dir.is_dir()) {
            sync_dir(dir)?;
        }
        Ok(())
    }

    /// Takes the store for this process; waits for another one at work.
    pub(super) fn lock(&self) -> Result<File, LakeError> {
        fs::create_dir_all(&self.root).map_err(LakeError::io("create", &self.root))?;
        lock_dir(&self.root)
    }

    /// With the lock held, what lies in the staging directory belongs to nobody.
    pub(super) fn leftovers(&self) -> Result<Vec<Entry>, LakeError> {
        self.list(STAGING)
    }
}
