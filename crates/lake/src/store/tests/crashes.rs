//! A process that dies at any of its writes, and two at the same time.

use std::sync::Arc;

use datafusion::object_store::memory::InMemory;

use super::samples::{Dying, contents, remote, source};
use crate::{
    GcOptions, LakeError,
    store::{CURRENT, SnapshotStore, files::Work},
};

/// Death before, or just after, every single write of a publication.
#[tokio::test]
async fn death_at_any_write_leaves_no_half_snapshot() {
    let source = source();
    let (before, after) = (|| contents(&source, 60, None), || contents(&source, 100, Some(7)));
    let undisturbed = remote(Arc::new(InMemory::new()));
    let id = undisturbed.publish(&after(), &["SYN", CURRENT]).await.unwrap().id;
    let mut deaths = 0;
    for answer_is_lost in [false, true] {
        for dies_at in 0.. {
            let inner = Arc::new(InMemory::new());
            let store = remote(inner.clone());
            let old = store.publish(&before(), &["SYN", CURRENT]).await.unwrap().id;
            let dying = Arc::new(Dying::new(inner, dies_at, answer_is_lost));
            let done = remote(dying.clone()).publish(&after(), &["SYN", CURRENT]).await;
            if dying.puts() <= dies_at {
                assert_eq!(done.unwrap().id, id);
                break;
            }
            deaths += 1;
            done.unwrap_err();
            let report = store.verify(None).await.unwrap();
            assert!(report.is_sound(), "death at write {dies_at}: {report:?}");
            let current = store.resolve(CURRENT).await.unwrap();
            assert!(current == old || current == id, "death at write {dies_at}");
            let manifest = store.manifest(current).await.unwrap();
            store.batches(&manifest).await.unwrap();

            let next = store.publish(&after(), &["SYN", CURRENT]).await.unwrap();
            assert_eq!(next.id, id, "death at write {dies_at}");
            assert_eq!(store.resolve("SYN").await.unwrap(), id);
            let report = store.verify(None).await.unwrap();
            assert!(report.is_sound() && report.orphans.is_empty(), "{report:?}");
        }
    }
    // The announcement, two files, the quarantine, the manifest, two references.
    assert_eq!(deaths, 14);
}

#[tokio::test]
async fn removal_does_not_run_beside_a_build_nor_a_build_beside_removal() {
    let store = remote(Arc::new(InMemory::new()));
    let building = store.files.begin(Work::Publish).await.unwrap();
    let another = store.files.begin(Work::Publish).await.unwrap();
    let error = store.gc(GcOptions::default()).await.unwrap_err();
    assert!(matches!(error, LakeError::StoreBusy { .. }), "{error}");
    store.files.end(another).await.unwrap();
    store.files.end(building).await.unwrap();
    assert!(store.files.list("writers").await.unwrap().is_empty(), "the refused one left none");

    let removing = store.files.begin(Work::Collect).await.unwrap();
    let source = source();
    let error = store.publish(&contents(&source, 3, None), &[]).await.unwrap_err();
    assert!(matches!(error, LakeError::StoreBusy { .. }), "{error}");
    store.files.end(removing).await.unwrap();
    store.publish(&contents(&source, 3, None), &[]).await.unwrap();
}

#[tokio::test]
async fn a_reference_that_moved_meanwhile_is_not_overwritten() {
    let store = remote(Arc::new(InMemory::new()));
    let source = source();
    let one = store.publish(&contents(&source, 3, None), &[CURRENT]).await.unwrap().id;
    let two = store.publish(&contents(&source, 4, None), &[]).await.unwrap().id;
    let three = store.publish(&contents(&source, 5, None), &[]).await.unwrap().id;
    let held = store.hold_refs(&[CURRENT]).await.unwrap();
    store.point(CURRENT, two).await.unwrap();
    let error = store.move_refs(held.clone(), three).await.unwrap_err();
    assert!(matches!(error, LakeError::RefMoved { .. }), "{error}");
    assert_eq!(store.resolve(CURRENT).await.unwrap(), two);
    // Whoever wanted the same has what it wanted.
    store.move_refs(held, two).await.unwrap();
    assert!(store.point("a/b", one).await.is_err());
}

#[tokio::test]
async fn a_copy_sends_what_the_target_lacks_and_refuses_what_is_damaged() {
    let (dir, source) = (tempfile::tempdir().unwrap(), source());
    let from = SnapshotStore::local(dir.path());
    let to = remote(Arc::new(InMemory::new()));
    let one = from.publish(&contents(&source, 60, None), &[CURRENT]).await.unwrap().id;
    let first = from.copy_to(one, &to, &["first"]).await.unwrap();
    assert_eq!((first.copied_files, first.shared_files), (2, 0));
    let two = from.publish(&contents(&source, 70, None), &[CURRENT]).await.unwrap().id;
    let manifest = from.manifest(two).await.unwrap();
    let file = dir.path().join(&manifest.data_sources[1].file_path);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, b"PAR1").unwrap();
    let error = from.copy_to(two, &to, &[CURRENT]).await.unwrap_err();
    assert!(matches!(error, LakeError::WrongDigest { .. }), "{error}");
    assert!(to.manifest(two).await.is_err(), "a half copy is no snapshot");
    std::fs::write(&file, bytes).unwrap();
    let second = from.copy_to(two, &to, &[CURRENT]).await.unwrap();
    assert_eq!((second.copied_files, second.shared_files), (1, 1));
    assert_eq!(to.resolve(CURRENT).await.unwrap(), two);
    assert_eq!(to.resolve("first").await.unwrap(), one);
    assert!(to.verify(None).await.unwrap().is_sound());
    assert_eq!(to.manifest(two).await.unwrap(), from.manifest(two).await.unwrap());
}
