//! What every kind of store promises.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::object_store::memory::InMemory;
use domain::Digest;

use super::samples::{contents, remote, source};
use crate::{
    Change, GcOptions, Kind, LakeError,
    store::{
        CURRENT, SnapshotStore,
        files::{Entry, Files, Work},
        names,
    },
};

/// Runs the suite on a store that is empty.
pub(super) async fn check(store: &SnapshotStore) {
    check_files(&store.files).await;
    check_snapshots(store).await;
}

#[tokio::test]
async fn a_local_store_conforms() {
    let dir = tempfile::tempdir().unwrap();
    check(&SnapshotStore::local(dir.path())).await;
    let left: Vec<_> = std::fs::read_dir(dir.path().join(".staging")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_store_in_memory_conforms() {
    check(&remote(Arc::new(InMemory::new()))).await;
}

async fn check_files(files: &Files) {
    let (one, two) = (Bytes::from_static(b"one"), Bytes::from_static(b"two"));
    assert!(files.get("refs/x").await.unwrap().is_none());
    assert!(files.list("refs").await.unwrap().is_empty());
    files.remove("refs/x").await.unwrap();

    assert!(files.create("refs/x", one.clone()).await.unwrap());
    assert!(!files.create("refs/x", two.clone()).await.unwrap(), "create never overwrites");
    let held = files.get("refs/x").await.unwrap().unwrap();
    assert_eq!(held.bytes, one);
    assert!(!files.swap("refs/x", None, two.clone()).await.unwrap(), "it is there already");
    assert!(files.swap("refs/x", Some(&held), two.clone()).await.unwrap());
    assert!(!files.swap("refs/x", Some(&held), Bytes::from_static(b"3")).await.unwrap());
    assert_eq!(files.get("refs/x").await.unwrap().unwrap().bytes, two);
    files.settle("refs/x").await.unwrap();

    files.replace("refs/y", one.clone()).await.unwrap();
    assert!(files.has("refs/y", Digest::of("one"), 3).await.unwrap());
    assert!(!files.has("refs/z", Digest::of("one"), 3).await.unwrap());
    let entry = |path: &str| Entry { path: path.to_owned(), bytes: 3 };
    assert_eq!(files.list("refs").await.unwrap(), [entry("refs/x"), entry("refs/y")]);
    for path in ["refs/x", "refs/y"] {
        files.remove(path).await.unwrap();
    }
    assert!(files.list("refs").await.unwrap().is_empty());

    let guard = files.begin(Work::Publish).await.unwrap();
    files.check(&guard).unwrap();
    assert!(files.leftovers().await.unwrap().is_empty());
    files.end(guard).await.unwrap();
}

async fn check_snapshots(store: &SnapshotStore) {
    let source = source();
    assert!(matches!(store.resolve(CURRENT).await, Err(LakeError::NoUniverse { .. })));
    let first = store.publish(&contents(&source, 60, None), &["SYN", CURRENT]).await.unwrap();
    assert!(!first.was_there);
    let again = store.publish(&contents(&source, 60, None), &["SYN", CURRENT]).await.unwrap();
    assert!(again.was_there && again.id == first.id);
    let grown = store.publish(&contents(&source, 61, Some(40)), &[CURRENT]).await.unwrap();
    let report = store.verify(None).await.unwrap();
    assert!(report.is_sound(), "{report:?}");
    // 31 days of 2019 in a shared file, 2020 in one each, two quarantines.
    assert_eq!((report.snapshots, report.files, report.orphans.len()), (2, 5, 0));

    for name in [CURRENT, &grown.id.to_string(), &grown.id.to_string()[..9].to_uppercase()] {
        assert_eq!(store.resolve(name).await.unwrap(), grown.id, "{name}");
    }
    assert_eq!(store.resolve("SYN").await.unwrap(), first.id);
    let error = store.resolve("NO").await.unwrap_err().to_string();
    assert!(error.contains("CURRENT, SYN"), "{error}");

    let manifest = store.manifest(grown.id).await.unwrap();
    let batches = store.batches(&manifest).await.unwrap();
    assert_eq!(batches[&Kind::Index].num_rows(), 61);
    let diff = store.diff(first.id, grown.id).await.unwrap();
    let [index] = diff.sources.as_slice() else { panic!("{diff:?}") };
    assert_eq!((index.shared_files, index.added_files, index.removed_files), (1, 1, 1));
    assert_eq!((index.added, index.removed, index.changed), (1, 0, 1));
    let changed = Change::Changed(vec![("close".into(), "140.0".into(), "141.0".into())]);
    assert!(index.examples.iter().any(|e| e.change == changed), "{:?}", index.examples);

    store.point("old", first.id).await.unwrap();
    assert_eq!(store.refs().await.unwrap().len(), 3);
    check_removal(store, first.id, grown.id).await;
}

async fn check_removal(store: &SnapshotStore, first: Digest, grown: Digest) {
    let all = GcOptions { keep: Some(0), ..GcOptions::default() };
    assert_eq!(store.gc(all).await.unwrap().snapshots, [""; 0], "references keep both");
    store.point("SYN", grown).await.unwrap();
    store.point("old", grown).await.unwrap();
    let planned = store.gc(GcOptions { dry_run: true, ..all }).await.unwrap();
    assert!(store.manifest(first).await.is_ok(), "a dry run removes nothing");
    let removed = store.gc(all).await.unwrap();
    assert_eq!(planned, removed);
    assert_eq!(removed.snapshots, [first.to_string()]);
    // Manifest, quarantine and the file of 2020; that of 2019 is shared.
    assert_eq!(removed.files.len(), 3);
    assert_eq!(removed.files[0], names::manifest(first), "the manifest goes first");
    let report = store.verify(None).await.unwrap();
    assert!(report.is_sound() && report.orphans.is_empty(), "{report:?}");
    assert_eq!(store.list().await.unwrap().len(), 1);
}
