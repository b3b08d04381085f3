//! Building: determinism, refusals, crash safety, quarantine.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use lake::{BuildReport, LakeError, Manifest, Snapshot, SourceList};

use crate::{
    support::build,
    synthetic::{self, Files, allowlist, install},
};

const NOON: &str = "2026-01-01T12:00:00Z";

/// Returns the directory of the synthetic universe's current snapshot.
fn current_dir(data_dir: &Path) -> Result<std::path::PathBuf, LakeError> {
    lake::current_dir(data_dir, "SYN")
}

fn built(data_dir: &Path, files: &Files) -> BuildReport {
    let (sources, universe) = install(data_dir, files);
    build(data_dir, &sources, &universe, NOON).unwrap()
}

fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    entries
        .map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&p).unwrap()))
        .collect()
}

#[tokio::test]
async fn the_same_data_gives_the_same_id_and_bytes() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = built(a.path(), &synthetic::files());
    assert!(!first.already_built);
    let (sources, universe) = install(b.path(), &synthetic::files());
    let elsewhere_later = build(b.path(), &sources, &universe, "2027-02-02T00:00:00Z").unwrap();
    assert_eq!(first.id, elsewhere_later.id);
    let (mut one, mut two) = (contents(&first.dir), contents(&elsewhere_later.dir));
    assert_ne!(one.remove("manifest.json"), two.remove("manifest.json"), "created_at differs");
    assert_eq!(one, two);

    let before = contents(&first.dir);
    let again = built(a.path(), &synthetic::files());
    assert!(again.already_built);
    assert_eq!((again.id, contents(&again.dir)), (first.id, before));

    let mut changed = synthetic::files();
    changed.get_mut("index.csv").unwrap().extend_from_slice(b"2021-07-01,3100\n");
    let other = built(a.path(), &changed);
    assert_ne!(other.id, first.id);
    assert_eq!(current_dir(a.path()).unwrap(), other.dir);
    assert_eq!(Snapshot::open_universe(a.path(), "SYN").await.unwrap().id(), other.id);
    assert_eq!(Snapshot::open(&first.dir).await.unwrap().id(), first.id, "old snapshots stay");
}

#[test]
fn a_killed_build_leaves_no_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = dir.path().join("snapshots");
    let leftover = snapshots.join(".building-dead");
    fs::create_dir_all(&leftover).unwrap();
    fs::write(leftover.join("bars.parquet"), "half").unwrap();
    assert!(matches!(current_dir(dir.path()), Err(LakeError::NoSnapshot { .. })));
    let report = built(dir.path(), &synthetic::files());
    assert!(!leftover.exists());
    let names: BTreeSet<String> = contents_names(&snapshots).into_iter().collect();
    let expected = [".lock".to_owned(), report.id.to_string(), "CURRENT-SYN".to_owned()];
    assert_eq!(names, expected.into());
}

fn contents_names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

#[test]
fn unlisted_unlicensed_and_wrong_packages_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (sources, universe) = install(dir.path(), &synthetic::files());
    let refuse = |sources: &SourceList| build(dir.path(), sources, &universe, NOON).unwrap_err();

    let none = SourceList::parse("sources.toml", "").unwrap();
    assert!(matches!(refuse(&none), LakeError::UnlistedSource { id, .. } if id == "synth"));
    let text = allowlist(&"0".repeat(64)).replace("Apache-2.0", "");
    let unlicensed = SourceList::parse("sources.toml", &text).unwrap();
    assert!(matches!(refuse(&unlicensed), LakeError::UnlicensedSource { .. }));

    // A cached archive that was changed.
    let path =
        lake::PackageCache::new(dir.path().join("packages")).path(sources.get("synth").unwrap());
    fs::write(&path, "something else").unwrap();
    let error = refuse(&sources);
    assert!(matches!(error, LakeError::WrongDigest { .. }));
    let text = error.to_string();
    let expected = sources.get("synth").unwrap().sha256.to_string();
    for part in [&*path.to_string_lossy(), &expected, "remove the file and fetch again"] {
        assert!(text.contains(part), "{text} lacks {part}");
    }
    assert!(matches!(current_dir(dir.path()), Err(LakeError::NoSnapshot { .. })));
}

#[test]
fn a_package_with_another_digest_is_refused_by_the_client() {
    let dir = tempfile::tempdir().unwrap();
    let real = SourceList::builtin().unwrap();
    let mut source = real.get("edgar-ratios").unwrap().clone();
    source.sha256 = domain::Digest::of("another file");
    let cache = lake::PackageCache::new(dir.path());
    let error = cache.fetch(&source, &indicatif::ProgressBar::hidden()).unwrap_err();
    let LakeError::Fetch { package, reason, .. } = &error else { panic!("{error}") };
    assert_eq!(package, "edgar-ratios");
    assert!(!reason.is_empty());
    assert_eq!(contents_names(dir.path()), [".lock"]);
}

#[test]
fn unreadable_records_are_quarantined_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = synthetic::files();
    files.get_mut("bars.csv").unwrap().extend_from_slice(b"2021-07-01,-3,50\nsoon,1,1\n");
    files.get_mut("vix.csv").unwrap().extend_from_slice(b"7/1/2021,.\n");
    let bad_news = r#"[{"publishedDate":"2020-03-02 09:30:00","title":"T","text":null,"site":"x","url":"https://x"}]"#;
    files.insert("news/AAA.json", bad_news.into());
    let facts = String::from_utf8(files["facts/aaa.json"].clone()).unwrap();
    let future = facts.replace(r#""filed":"2019-02-01""#, r#""filed":"2018-02-01""#);
    files.insert("facts/aaa.json", future.into());
    let report = built(dir.path(), &files);
    let reasons: Vec<&str> = report.rejected.iter().map(|r| &*r.reason).collect();
    assert_eq!(
        reasons,
        [
            "its close is not a positive number",
            "its date is not YYYY-MM-DD",
            "no observation (.)",
            "it has no text",
            "its period ends after it was filed",
        ]
    );
    let file = fs::read_to_string(report.dir.join("quarantine.jsonl")).unwrap();
    assert_eq!(file.lines().count(), reasons.len());
    let news = report.records.iter().find(|(kind, _)| *kind == lake::Kind::News);
    assert_eq!(news.unwrap().1, 0, "an empty kind is a file without rows");
}

#[tokio::test]
async fn a_damaged_snapshot_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let report = built(dir.path(), &synthetic::files());
    let manifest = report.dir.join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    assert_eq!(Manifest::parse(&text).unwrap().hash, report.id);
    for (from, to, says) in [
        ("\"bias\": \"made up\"", "\"bias\": \"none\"", "was changed"),
        ("\"manifest_version\": 1", "\"manifest_version\": 2", "manifest_version"),
        ("\"bars.parquet\"", "\"../bars.parquet\"", "file_path"),
        ("\"labels\"", "\"lables\"", "manifest.json"),
    ] {
        fs::write(&manifest, text.replacen(from, to, 1)).unwrap();
        let error = Snapshot::open(&report.dir).await.unwrap_err();
        assert!(matches!(error, LakeError::BadSnapshot { .. }), "{error}");
        assert!(error.to_string().contains(says), "{error} lacks {says}");
    }
    fs::write(&manifest, &text).unwrap();
    fs::write(report.dir.join("news.parquet"), "x").unwrap();
    let error = Snapshot::open(&report.dir).await.unwrap_err();
    assert!(matches!(error, LakeError::WrongDigest { .. }), "{error}");
    fs::remove_dir_all(&report.dir).unwrap();
    assert!(matches!(Snapshot::open(&report.dir).await, Err(LakeError::NoSnapshot { .. })));
}
