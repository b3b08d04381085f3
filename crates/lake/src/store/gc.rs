//! Removing what nobody needs any more.

use std::collections::BTreeSet;

use super::{
    ListedSnapshot, Manifest, SnapshotStore,
    files::{Entry, Guard, Work},
    names,
    verify::named,
};
use crate::LakeError;

/// What to remove beside files that no snapshot names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GcOptions {
    /// Keep this many of the newest snapshots, and all that a reference names;
    /// all where absent.
    pub keep: Option<usize>,
    /// Remove snapshots of version 1.
    pub old: bool,
    /// Remove nothing, only tell.
    pub dry_run: bool,
}

/// What was removed, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Snapshots that stay.
    pub kept: Vec<String>,
    /// Snapshots that go.
    pub snapshots: Vec<String>,
    /// Files that go, in the order of their removal.
    pub files: Vec<String>,
    /// Their size.
    pub bytes: u64,
}

impl SnapshotStore {
    /// Removes files that no snapshot names, what killed processes left behind,
    /// and the snapshots the options say.
    ///
    /// It never runs beside a build: a local directory is locked, an object store
    /// holds an announcement of either, and who comes second fails. So a file that
    /// a build counts on is named by a manifest before the next removal looks.
    /// A manifest goes before the files it names: stopped anywhere, what is left is
    /// whole snapshots and files that the next run removes.
    ///
    /// # Errors
    /// Fails while a build is at work in an object store, and when a manifest is
    /// damaged: which files it needs is not known then.
    pub async fn gc(&self, options: GcOptions) -> Result<GcReport, LakeError> {
        if options.dry_run {
            return Ok(self.plan(options).await?.0);
        }
        self.guarded(Work::Collect, async |guard| {
            let (report, entries) = self.plan(options).await?;
            self.remove_all(guard, &entries).await?;
            Ok(report)
        })
        .await
    }

    async fn remove_all(&self, guard: &Guard, entries: &[Entry]) -> Result<(), LakeError> {
        for entry in entries {
            self.files.check(guard)?;
            self.files.remove(&entry.path).await?;
        }
        self.files.settle(names::OBJECTS).await?;
        self.files.settle(names::SNAPSHOTS).await
    }

    async fn plan(&self, options: GcOptions) -> Result<(GcReport, Vec<Entry>), LakeError> {
        let mut report = GcReport::default();
        let mut kept = Vec::<Manifest>::new();
        // What a damaged reference named would go.
        for (name, target) in self.read_refs().await? {
            if let Err(source) = target {
                let path = self.files.place(&format!("{}/{name}", names::REFS));
                return Err(LakeError::GcStopped { path, source: Box::new(source) });
            }
        }
        for (age, snapshot) in self.list().await?.into_iter().enumerate() {
            let ListedSnapshot { id, refs, manifest } = snapshot;
            let is_dropped = match &manifest {
                Ok(_) => refs.is_empty() && options.keep.is_some_and(|keep| age >= keep),
                Err(LakeError::OldSnapshot { .. }) => options.old,
                Err(_) => false,
            };
            match manifest {
                _ if is_dropped => report.snapshots.push(id),
                Ok(manifest) => {
                    report.kept.push(id);
                    kept.push(manifest);
                }
                Err(LakeError::OldSnapshot { .. }) => report.kept.push(id),
                Err(source) => {
                    let path = self.files.place(&names::snapshot(&id));
                    return Err(LakeError::GcStopped { path, source: Box::new(source) });
                }
            }
        }
        let entries = self.unneeded(&report, &kept, options.old).await?;
        report.bytes = entries.iter().map(|entry| entry.bytes).sum();
        report.files = entries.iter().map(|entry| entry.path.clone()).collect();
        Ok((report, entries))
    }

    /// Lists the files to remove: manifests first.
    async fn unneeded(
        &self,
        report: &GcReport,
        kept: &[Manifest],
        old: bool,
    ) -> Result<Vec<Entry>, LakeError> {
        let kept_dirs: BTreeSet<&str> = report.kept.iter().map(String::as_str).collect();
        let mut entries: Vec<Entry> = self.files.list(names::SNAPSHOTS).await?;
        entries.retain(|entry| {
            let (owner, is_dir) = match entry.path.splitn(3, '/').collect::<Vec<_>>().as_slice() {
                [_, owner, _] => (*owner, true),
                [_, owner] => (*owner, false),
                _ => return false,
            };
            // Version 1 kept its current id, its lock and its half-built directories here.
            let is_of_version_1 = !is_dir || owner.starts_with('.');
            if is_of_version_1 { old } else { !kept_dirs.contains(owner) }
        });
        entries.sort_by_key(|entry| names::manifest_owner(&entry.path).is_none());
        let named = named(kept);
        for entry in self.files.list(names::OBJECTS).await? {
            // A file with another name is not this program's.
            let is_object = names::object_digest(&entry.path).is_some();
            if is_object && !named.contains_key(&entry.path) {
                entries.push(entry);
            }
        }
        entries.extend(self.files.leftovers().await?);
        Ok(entries)
    }
}
