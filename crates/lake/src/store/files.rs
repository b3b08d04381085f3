//! Where a store keeps its files: a local directory or an object store, behind
//! the same few operations.
//!
//! Paths are relative to the root. Every put is atomic: a reader sees the whole
//! file or none. What a put promises beyond that is said at each operation, and
//! one suite of tests runs on all kinds of [`Files`].

use std::path::PathBuf;

use bytes::Bytes;
use datafusion::object_store::UpdateVersion;
use domain::Digest;

use super::{local::LocalFiles, remote::RemoteFiles};
use crate::LakeError;

/// A place for files.
#[derive(Debug)]
pub(super) enum Files {
    Local(LocalFiles),
    Remote(RemoteFiles),
}

/// A file that was read, and which version of it.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) bytes: Bytes,
    /// What an object store needs to replace this version only.
    pub(super) version: UpdateVersion,
}

/// A listed file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) bytes: u64,
}

/// What a process is about to do with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Adds files, and relies on those that are there.
    Publish,
    /// Removes files.
    Collect,
}

/// Says that the process is at work. It must be given to [`Files::end`]; a
/// process that dies with it blocks others for a bounded time, or not at all.
#[derive(Debug)]
pub(super) enum Guard {
    /// The lock ends with the file.
    Local(#[allow(dead_code, reason = "held, not read")] std::fs::File),
    Remote(super::remote::Announced),
}

impl Files {
    /// Returns how errors and logs call a file.
    pub(super) fn place(&self, path: &str) -> PathBuf {
        match self {
            Self::Local(files) => files.path(path),
            Self::Remote(files) => files.place(path),
        }
    }

    /// Reads a file; none where it is missing.
    pub(super) async fn get(&self, path: &str) -> Result<Option<Held>, LakeError> {
        match self {
            Self::Local(files) => files.get(path),
            Self::Remote(files) => files.get(path).await,
        }
    }

    /// Tells whether a content-addressed file is there and whole. A local one is
    /// read and hashed; of a remote one only the size is asked, because reading
    /// would cost as much as writing.
    pub(super) async fn has(
        &self,
        path: &str,
        digest: Digest,
        bytes: u64,
    ) -> Result<bool, LakeError> {
        match self {
            Self::Local(files) => files.has(path, digest),
            Self::Remote(files) => files.has(path, bytes).await,
        }
    }

    /// Writes a file that must not be there yet; false where it was. The content
    /// is durable, the name only after [`Files::settle`].
    pub(super) async fn create(&self, path: &str, bytes: Bytes) -> Result<bool, LakeError> {
        match self {
            Self::Local(files) => files.create(path, &bytes),
            Self::Remote(files) => files.create(path, bytes).await,
        }
    }

    /// Writes a file over another. Only for what is damaged.
    pub(super) async fn replace(&self, path: &str, bytes: Bytes) -> Result<(), LakeError> {
        match self {
            Self::Local(files) => files.replace(path, &bytes),
            Self::Remote(files) => files.replace(path, bytes).await,
        }
    }

    /// Replaces the version that was read, or creates the file where none was;
    /// false where somebody else was faster. Durable. A local directory relies on
    /// the guard for that nobody comes between.
    pub(super) async fn swap(
        &self,
        path: &str,
        old: Option<&Held>,
        bytes: Bytes,
    ) -> Result<bool, LakeError> {
        match self {
            Self::Local(files) => files.swap(path, old, &bytes),
            Self::Remote(files) => files.swap(path, old, bytes).await,
        }
    }

    /// Lists all files below a directory by path; none where it is missing.
    pub(super) async fn list(&self, dir: &str) -> Result<Vec<Entry>, LakeError> {
        match self {
            Self::Local(files) => files.list(dir),
            Self::Remote(files) => files.list(dir).await,
        }
    }

    /// Removes a file; it may be missing.
    pub(super) async fn remove(&self, path: &str) -> Result<(), LakeError> {
        match self {
            Self::Local(files) => files.remove(path),
            Self::Remote(files) => files.remove(path).await,
        }
    }

    /// Makes the names in a directory durable: what is written later cannot
    /// survive a power cut that these do not.
    pub(super) async fn settle(&self, dir: &str) -> Result<(), LakeError> {
        match self {
            Self::Local(files) => files.settle(dir),
            // A put that was answered is durable.
            Self::Remote(_) => Ok(()),
        }
    }

    /// Says that this process is at work, and waits or fails while another's work
    /// could clash.
    pub(super) async fn begin(&self, work: Work) -> Result<Guard, LakeError> {
        match self {
            Self::Local(files) => files.lock().map(Guard::Local),
            Self::Remote(files) => files.announce(work).await.map(Guard::Remote),
        }
    }

    /// Fails when the guard has run out, so that others may no longer respect it.
    pub(super) fn check(&self, guard: &Guard) -> Result<(), LakeError> {
        match (self, guard) {
            (Self::Remote(files), Guard::Remote(announced)) => files.check(announced),
            _ => Ok(()),
        }
    }

    /// Says that the work has ended.
    pub(super) async fn end(&self, guard: Guard) -> Result<(), LakeError> {
        match (self, guard) {
            (Self::Remote(files), Guard::Remote(announced)) => files.retract(announced).await,
            _ => Ok(()),
        }
    }

    /// Lists what dead processes left behind. Exact while the guard of
    /// [`Work::Collect`], or any local one, is held.
    pub(super) async fn leftovers(&self) -> Result<Vec<Entry>, LakeError> {
        match self {
            Self::Local(files) => files.leftovers(),
            Self::Remote(files) => files.leftovers().await,
        }
    }
}
