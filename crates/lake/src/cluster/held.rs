//! The snapshot an executor answers from.

use std::{collections::btree_map::Entry, sync::Arc};

use domain::Digest;
use tokio::sync::Mutex;

use crate::{Kind, LakeError, Manifest, SnapshotStore, records, tables::Tables};

/// A store, and the snapshot of it that was asked for last. Panels are computed one after
/// another, each of one snapshot, by many tasks.
#[derive(Debug)]
pub(super) struct Held {
    store: SnapshotStore,
    last: Mutex<Option<Arc<HeldSnapshot>>>,
}

/// All records of a snapshot, and what its manifest says of them.
#[derive(Debug)]
pub(super) struct HeldSnapshot {
    pub(super) manifest: Manifest,
    pub(super) tables: Tables,
}

impl Held {
    pub(super) fn new(store: SnapshotStore) -> Self {
        Self { store, last: Mutex::new(None) }
    }

    /// Returns a snapshot; reads it, every file checked against its digest, where it is not
    /// the one that was asked for last. Other tasks wait for it.
    ///
    /// # Errors
    /// Fails where the store does not have it whole.
    pub(super) async fn snapshot(&self, id: Digest) -> Result<Arc<HeldSnapshot>, LakeError> {
        let mut last = self.last.lock().await;
        if let Some(held) = last.as_ref().filter(|held| held.manifest.hash == id) {
            return Ok(held.clone());
        }
        let manifest = match self.store.manifest(id).await {
            Err(LakeError::NoSnapshot { .. }) => {
                return Err(self.refuses(&format!(
                    "it has no snapshot {id}: copy it there with `r2r data snapshot {} --to {}`",
                    id.short(),
                    self.store.url()
                )));
            }
            manifest => manifest?,
        };
        let mut batches = self.store.batches(&manifest).await?;
        for kind in Kind::ALL {
            if let Entry::Vacant(entry) = batches.entry(kind) {
                entry.insert(records::empty(kind)?);
            }
        }
        let held = Arc::new(HeldSnapshot { manifest, tables: Tables::new(batches)? });
        *last = Some(held.clone());
        Ok(held)
    }

    /// Returns the error of an executor that cannot answer.
    pub(super) fn refuses(&self, reason: &str) -> LakeError {
        let url = self.store.url();
        LakeError::Cluster {
            place: format!("executor with the store {url}"),
            reason: reason.into(),
        }
    }
}
