//! Checking a store: every byte that a manifest vouches for, every reference.

use std::collections::{BTreeMap, BTreeSet};

use domain::Digest;

use super::{ListedSnapshot, Manifest, SnapshotStore, names, read::Wanted};
use crate::LakeError;

/// What checking found.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// Number of snapshots that were checked.
    pub snapshots: usize,
    /// Number of files that were read and hashed, shared ones once.
    pub files: usize,
    /// Their size.
    pub bytes: u64,
    /// What is damaged or missing; each names the file and the remedy.
    pub problems: Vec<LakeError>,
    /// Files no snapshot needs: what a killed process left behind. Harmless;
    /// [`SnapshotStore::gc`] removes them.
    pub orphans: Vec<String>,
    /// Snapshots of version 1, which this program does not read.
    pub old: Vec<String>,
}

impl VerifyReport {
    /// Tells whether nothing is damaged.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

impl SnapshotStore {
    /// Checks a snapshot, or all, all references, and what nobody needs: each
    /// manifest against its schema, hash and seal, each file against its digest,
    /// each reference against the snapshots.
    ///
    /// Files that are missing or damaged are in the report, not an error.
    ///
    /// # Errors
    /// Fails when the store cannot be listed.
    pub async fn verify(&self, only: Option<Digest>) -> Result<VerifyReport, LakeError> {
        let mut report = VerifyReport::default();
        let mut manifests = Vec::new();
        let found = match only {
            Some(id) => vec![self.listed(id).await],
            None => self.list().await?,
        };
        for ListedSnapshot { id, manifest, .. } in found {
            report.snapshots += 1;
            match manifest {
                Ok(manifest) => manifests.push(manifest),
                Err(LakeError::OldSnapshot { .. }) => report.old.push(id),
                Err(problem) => report.problems.push(problem),
            }
        }
        self.verify_files(&manifests, &mut report).await;
        if only.is_none() {
            self.verify_refs(&manifests, &mut report).await?;
            report.orphans = self.orphans(&manifests, &report.old).await?;
        }
        Ok(report)
    }

    async fn listed(&self, id: Digest) -> ListedSnapshot {
        ListedSnapshot { id: id.to_string(), refs: Vec::new(), manifest: self.manifest(id).await }
    }

    async fn verify_files(&self, manifests: &[Manifest], report: &mut VerifyReport) {
        let mut wanted = BTreeSet::new();
        for manifest in manifests {
            wanted.extend(manifest.data_sources.iter().map(Wanted::object));
            let path = names::quarantine(manifest.hash);
            wanted.insert(Wanted { path, digest: manifest.quarantine.file_hash });
        }
        let wanted: Vec<Wanted> = wanted.into_iter().collect();
        for size in self.read_each(&wanted, |bytes| Ok(bytes.len() as u64)).await {
            report.files += 1;
            match size {
                Ok(size) => report.bytes += size,
                Err(problem) => report.problems.push(problem),
            }
        }
    }

    async fn verify_refs(
        &self,
        manifests: &[Manifest],
        report: &mut VerifyReport,
    ) -> Result<(), LakeError> {
        let ids: BTreeSet<Digest> = manifests.iter().map(|manifest| manifest.hash).collect();
        for (name, target) in self.read_refs().await? {
            let path = self.files.place(&format!("{}/{name}", names::REFS));
            match target {
                Ok(id) if ids.contains(&id) => {}
                Ok(id) => {
                    let reason = format!("it names {id}, which is no sound snapshot of this store");
                    report.problems.push(LakeError::BadRef { path, reason });
                }
                Err(problem) => report.problems.push(problem),
            }
        }
        Ok(())
    }

    /// Lists what no manifest names.
    async fn orphans(
        &self,
        manifests: &[Manifest],
        old: &[String],
    ) -> Result<Vec<String>, LakeError> {
        let named = named(manifests);
        let mut orphans = Vec::new();
        for entry in self.files.list(names::OBJECTS).await? {
            if !named.contains_key(&entry.path) {
                orphans.push(entry.path);
            }
        }
        let snapshots = self.files.list(names::SNAPSHOTS).await?;
        let owners: BTreeSet<&str> =
            snapshots.iter().filter_map(|entry| names::manifest_owner(&entry.path)).collect();
        for entry in &snapshots {
            let owner = entry.path.split('/').nth(1).unwrap_or_default();
            let is_of_old =
                entry.path.starts_with(names::OLD_CURRENT) || old.iter().any(|id| id == owner);
            if !owners.contains(owner) && !is_of_old && !owner.starts_with('.') {
                orphans.push(entry.path.clone());
            }
        }
        orphans.extend(self.files.leftovers().await?.into_iter().map(|entry| entry.path));
        Ok(orphans)
    }
}

/// Returns the objects that manifests name, and their sizes.
pub(super) fn named(manifests: &[Manifest]) -> BTreeMap<String, u64> {
    let sources = manifests.iter().flat_map(|manifest| &manifest.data_sources);
    sources.map(|source| (source.file_path.clone(), source.file_bytes)).collect()
}
