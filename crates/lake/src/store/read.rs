//! Reading objects: several at once, each checked against its digest while it is
//! in memory anyway.

use std::collections::BTreeMap;

use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use domain::Digest;
use futures::{StreamExt as _, stream};

use super::{DataSource, Manifest, SnapshotStore, encode, files::Held, names};
use crate::{Kind, LakeError, parallel::in_parallel};

/// Requests to an object store at the same time.
pub(super) const REQUESTS_MAX: usize = 16;
/// Files in memory at the same time, undecoded.
const FILES_MAX: usize = 64;

/// A file with a promised content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wanted {
    pub(super) path: String,
    pub(super) digest: Digest,
}

impl Wanted {
    pub(super) fn object(source: &DataSource) -> Self {
        Self { path: source.file_path.clone(), digest: source.file_hash }
    }
}

impl SnapshotStore {
    /// Reads all records of a snapshot, each file checked against its digest: a
    /// batch per kind that has any source, sorted within each file.
    ///
    /// # Errors
    /// Fails when a file is missing or is not what the manifest promises.
    pub async fn batches(
        &self,
        manifest: &Manifest,
    ) -> Result<BTreeMap<Kind, RecordBatch>, LakeError> {
        let wanted: Vec<Wanted> = manifest.data_sources.iter().map(Wanted::object).collect();
        let read = self.read_each(&wanted, encode::decode).await;
        let mut kinds = BTreeMap::<Kind, Vec<RecordBatch>>::new();
        for (source, batch) in manifest.data_sources.iter().zip(read) {
            kinds.entry(source.source_type).or_default().push(batch?);
        }
        kinds.into_iter().map(|(kind, files)| Ok((kind, encode::join(kind, &files)?))).collect()
    }

    /// Reads the quarantine file of a snapshot, checked against its digest.
    pub(crate) async fn quarantine_bytes(&self, manifest: &Manifest) -> Result<Bytes, LakeError> {
        let path = names::quarantine(manifest.hash);
        let held = self.files.get(&path).await?;
        self.check(&Wanted { path, digest: manifest.quarantine.file_hash }, held)
    }

    /// Reads files, checks each against its digest and works on it, on all cores.
    /// The results are in order.
    pub(super) async fn read_each<R: Send>(
        &self,
        wanted: &[Wanted],
        work: impl Fn(Bytes) -> Result<R, LakeError> + Sync,
    ) -> Vec<Result<R, LakeError>> {
        let mut results = Vec::with_capacity(wanted.len());
        for wanted in wanted.chunks(FILES_MAX) {
            // A closure that is held while it waits would keep the whole from being Send.
            let reads: Vec<_> = wanted.iter().map(|wanted| self.files.get(&wanted.path)).collect();
            let read: Vec<_> = stream::iter(reads).buffered(REQUESTS_MAX).collect().await;
            let read = wanted.iter().zip(read).collect();
            results.extend(in_parallel(read, |(wanted, held)| work(self.check(wanted, held?)?)));
        }
        results
    }

    /// Returns a file's bytes where they are the promised ones.
    pub(super) fn check(&self, wanted: &Wanted, held: Option<Held>) -> Result<Bytes, LakeError> {
        let path = self.files.place(&wanted.path);
        let Some(held) = held else {
            return Err(LakeError::MissingFile { path });
        };
        let found = Digest::of(&held.bytes);
        if found == wanted.digest {
            return Ok(held.bytes);
        }
        let remedy = "run `r2r data build`, which writes the files of the current snapshot \
                      again, or copy the snapshot from another store";
        Err(LakeError::WrongDigest { path, expected: wanted.digest, found, remedy })
    }
}
