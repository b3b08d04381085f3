//! The store on built snapshots: sharing, every changed byte, old snapshots.

use std::{collections::BTreeSet, fs, path::Path};

use lake::{
    BuildReport, DataSource, GcOptions, LakeError, Manifest, Snapshot, SnapshotStore, VerifyReport,
};

use crate::{
    support::{Random, build},
    synthetic::{self, Files, install},
};

const NOON: &str = "2026-01-01T12:00:00Z";

pub(crate) fn built(data_dir: &Path, files: &Files) -> BuildReport {
    let (sources, universe) = install(data_dir, files);
    build(data_dir, &sources, &universe, NOON).unwrap()
}

fn manifest(report: &BuildReport) -> Manifest {
    Manifest::parse(&fs::read_to_string(report.dir.join("manifest.json")).unwrap()).unwrap()
}

fn paths(manifest: &Manifest) -> BTreeSet<&str> {
    manifest.data_sources.iter().map(|source| &*source.file_path).collect()
}

async fn verify(data_dir: &Path) -> VerifyReport {
    SnapshotStore::local(data_dir).verify(None).await.unwrap()
}

#[tokio::test]
async fn a_later_build_writes_only_the_files_that_later_records_are_in() {
    let dir = tempfile::tempdir().unwrap();
    let (sources, universe) = install(dir.path(), &synthetic::files());
    let earlier = "2025-12-31T12:00:00Z";
    let first = build(dir.path(), &sources, &universe, earlier).unwrap();
    let mut later = synthetic::files();
    later.get_mut("index.csv").unwrap().extend_from_slice(b"2021-07-01,3100\n2022-01-03,3200\n");
    let second = built(dir.path(), &later);
    let (old, new) = (manifest(&first), manifest(&second));
    let added: Vec<&DataSource> = new
        .data_sources
        .iter()
        .filter(|source| !paths(&old).contains(&*source.file_path))
        .collect();
    let added: Vec<_> = added.iter().map(|s| (s.source_type.key(), s.known_year)).collect();
    assert_eq!(added, [("index", Some(2021)), ("index", Some(2022))]);
    let objects = fs::read_dir(dir.path().join("objects")).unwrap().count();
    assert_eq!(objects, paths(&old).len() + 2);

    let store = SnapshotStore::local(dir.path());
    let diff = store.diff(first.id, second.id).await.unwrap();
    let changed: Vec<_> =
        diff.sources.iter().filter(|s| s.added + s.removed + s.changed > 0).collect();
    let [index] = changed.as_slice() else { panic!("{diff:?}") };
    assert_eq!((index.added, index.removed, index.changed), (2, 0, 0));
    assert!(store.diff(first.id, first.id).await.unwrap().same_records());

    // What one snapshot alone needs goes with it; the rest stays.
    let report = store.gc(GcOptions { keep: Some(1), ..GcOptions::default() }).await.unwrap();
    assert_eq!(report.snapshots, [first.id.to_string()]);
    assert!(verify(dir.path()).await.orphans.is_empty());
    assert_eq!(Snapshot::open_universe(dir.path(), "SYN").await.unwrap().id(), second.id);
    assert!(matches!(Snapshot::open(&first.dir).await, Err(LakeError::NoSnapshot { .. })));
}

/// One bit flipped at many places, a file cut short, a file gone: the error names
/// the file, and the next build repairs it.
#[tokio::test]
async fn every_changed_byte_is_noticed_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let report = built(dir.path(), &synthetic::files());
    let whole = manifest(&report);
    let mut random = Random(7);
    let mut files = vec![report.dir.join("manifest.json"), report.dir.join("quarantine.jsonl")];
    files.extend(paths(&whole).into_iter().map(|path| dir.path().join(path)));
    let mut changes = 0;
    for file in &files {
        let bytes = fs::read(file).unwrap();
        let is_manifest = file.ends_with("manifest.json");
        let places = if is_manifest { 400 } else { 12 };
        for _ in 0..places.min(bytes.len()) {
            let mut damaged = bytes.clone();
            damaged[random.below(bytes.len())] ^= 1 << random.below(8);
            check_damage(dir.path(), file, &damaged, is_manifest).await;
            changes += 1;
        }
        let added = [bytes.as_slice(), b"\n"].concat();
        check_damage(dir.path(), file, &added, is_manifest).await;
        if !bytes.is_empty() {
            check_damage(dir.path(), file, &bytes[..bytes.len() - 1], is_manifest).await;
        }
        fs::write(file, &bytes).unwrap();
    }
    assert!(changes > 500, "{changes}");
    assert!(verify(dir.path()).await.is_sound());

    for file in &files[1..] {
        let bytes = fs::read(file).unwrap();
        fs::remove_file(file).unwrap();
        let report = verify(dir.path()).await;
        let [problem] = report.problems.as_slice() else { panic!("{report:?}") };
        assert!(matches!(problem, LakeError::MissingFile { path } if path == file), "{problem}");
        fs::write(file, bytes).unwrap();
    }
    fs::write(&files[0], "{}").unwrap();
    fs::remove_file(&files[2]).unwrap();
    fs::write(&files[3], "PAR1").unwrap();
    built(dir.path(), &synthetic::files());
    assert!(verify(dir.path()).await.is_sound(), "a build repairs");
    assert_eq!(Snapshot::open_universe(dir.path(), "SYN").await.unwrap().id(), report.id);
}

async fn check_damage(data_dir: &Path, file: &Path, damaged: &[u8], is_manifest: bool) {
    fs::write(file, damaged).unwrap();
    let report = verify(data_dir).await;
    // A damaged manifest is no snapshot either, which the references notice.
    let problem = report.problems.first().unwrap_or_else(|| panic!("{file:?} passes"));
    let text = problem.to_string();
    assert!(text.contains(&*file.to_string_lossy()), "{text}");
    assert!(text.contains("run `r2r data build`"), "{text}");
    if is_manifest {
        assert!(matches!(problem, LakeError::BadSnapshot { .. } | LakeError::OldSnapshot { .. }));
        let error = Snapshot::open_universe(data_dir, "SYN").await.unwrap_err();
        assert!(matches!(error, LakeError::BadSnapshot { .. }), "{error}");
    } else {
        let LakeError::WrongDigest { found, .. } = problem else { panic!("{text}") };
        assert_eq!(*found, domain::Digest::of(damaged));
        assert_eq!(report.problems.len(), 1);
    }
}

#[tokio::test]
async fn a_damaged_manifest_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let report = built(dir.path(), &synthetic::files());
    let file = report.dir.join("manifest.json");
    let text = fs::read_to_string(&file).unwrap();
    let path = paths(&manifest(&report)).first().unwrap().to_string();
    for (from, to, says) in [
        ("\"bias\": \"made up\"", "\"bias\": \"none\"", "its content has hash"),
        (
            "\"git_commit\": \"unknown\"",
            &*format!("\"git_commit\": \"{}\"", "a".repeat(40)),
            "its content has seal",
        ),
        ("\"manifest_version\": 2", "\"manifest_version\": 3", "manifest_version"),
        (&*path, "../bars.parquet", "file_path"),
        ("\"labels\"", "\"lables\"", "manifest.json"),
        ("  \"hash\"", "   \"hash\"", "white space"),
    ] {
        fs::write(&file, text.replacen(from, to, 1)).unwrap();
        let error = Snapshot::open(&report.dir).await.unwrap_err();
        assert!(matches!(error, LakeError::BadSnapshot { .. }), "{error}");
        assert!(error.to_string().contains(says), "{error} lacks {says}");
        // Which files it needs is not known, so nothing may go.
        let store = SnapshotStore::local(dir.path());
        let error = store.gc(GcOptions::default()).await.unwrap_err();
        assert!(matches!(error, LakeError::GcStopped { .. }), "{error}");
    }
    fs::remove_dir_all(&report.dir).unwrap();
    assert!(matches!(Snapshot::open(&report.dir).await, Err(LakeError::NoSnapshot { .. })));
    fs::write(dir.path().join("refs/SYN"), "what\n").unwrap();
    let error = Snapshot::open_universe(dir.path(), "SYN").await.unwrap_err();
    assert!(matches!(error, LakeError::BadRef { .. }), "{error}");
}

#[tokio::test]
async fn a_snapshot_of_version_1_is_refused_with_the_remedy_and_removed_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let id = domain::Digest::of("old");
    let old = dir.path().join("snapshots").join(id.to_string());
    fs::create_dir_all(&old).unwrap();
    fs::write(old.join("manifest.json"), r#"{"manifest_version": 1}"#).unwrap();
    fs::write(old.join("bars.parquet"), "PAR1").unwrap();
    fs::write(dir.path().join("snapshots/CURRENT-SYN"), format!("{id}\n")).unwrap();
    for error in [
        Snapshot::open_universe(dir.path(), "SYN").await.unwrap_err(),
        Snapshot::open(&old).await.unwrap_err(),
    ] {
        assert!(matches!(error, LakeError::OldSnapshot { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("run `r2r data build`") && text.contains("gc --old"), "{text}");
    }
    let report = built(dir.path(), &synthetic::files());
    let found = verify(dir.path()).await;
    assert!(found.is_sound() && found.orphans.is_empty(), "{found:?}");
    assert_eq!(found.old, [id.to_string()]);
    let store = SnapshotStore::local(dir.path());
    assert!(store.gc(GcOptions::default()).await.unwrap().files.is_empty());
    assert!(old.join("bars.parquet").exists());
    let removed = store.gc(GcOptions { old: true, ..GcOptions::default() }).await.unwrap();
    assert_eq!((removed.snapshots, removed.files.len()), (vec![id.to_string()], 3));
    assert!(!old.exists());
    assert_eq!(Snapshot::open_universe(dir.path(), "SYN").await.unwrap().id(), report.id);
}
