//! Building: determinism, refusals, quarantine.

use std::{collections::BTreeMap, fs, path::Path};

use lake::{BuildReport, LakeError, Snapshot, SnapshotStore, SourceList};

use crate::{
    support::build,
    synthetic::{self, Files, allowlist, install},
};

const NOON: &str = "2026-01-01T12:00:00Z";

/// Returns the directory of the synthetic universe's current snapshot.
fn built(data_dir: &Path, files: &Files) -> BuildReport {
    let (sources, universe) = install(data_dir, files);
    build(data_dir, &sources, &universe, NOON).unwrap()
}

async fn current(data_dir: &Path) -> Result<domain::Digest, LakeError> {
    SnapshotStore::local(data_dir).current("SYN").await
}

/// Returns all files of the store by path.
fn contents(data_dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for dir in ["objects", "snapshots", "refs"] {
        let mut dirs = vec![data_dir.join(dir)];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()) {
                if entry.is_dir() {
                    dirs.push(entry);
                } else {
                    let name = entry.strip_prefix(data_dir).unwrap().display().to_string();
                    files.insert(name, fs::read(&entry).unwrap());
                }
            }
        }
    }
    files
}

#[tokio::test]
async fn the_same_data_gives_the_same_id_and_bytes() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = built(a.path(), &synthetic::files());
    assert!(!first.already_built);
    let (sources, universe) = install(b.path(), &synthetic::files());
    let elsewhere_later = build(b.path(), &sources, &universe, "2027-02-02T00:00:00Z").unwrap();
    assert_eq!(first.id, elsewhere_later.id);
    let (mut one, mut two) = (contents(a.path()), contents(b.path()));
    let manifest = format!("snapshots/{}/manifest.json", first.id);
    assert_ne!(one.remove(&manifest), two.remove(&manifest), "created_at differs");
    assert_eq!(one, two);

    let before = contents(a.path());
    let again = built(a.path(), &synthetic::files());
    assert!(again.already_built);
    assert_eq!((again.id, contents(a.path())), (first.id, before));

    let mut changed = synthetic::files();
    changed.get_mut("index.csv").unwrap().extend_from_slice(b"2021-07-01,3100\n");
    let other = built(a.path(), &changed);
    assert_ne!(other.id, first.id);
    assert_eq!(current(a.path()).await.unwrap(), other.id);
    assert_eq!(Snapshot::open_universe(a.path(), "SYN").await.unwrap().id(), other.id);
    assert_eq!(Snapshot::open(&first.dir).await.unwrap().id(), first.id, "old snapshots stay");
}

fn contents_names(dir: &Path) -> Vec<String> {
    fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

#[tokio::test]
async fn unlisted_unlicensed_and_wrong_packages_are_refused() {
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
    assert!(matches!(current(dir.path()).await, Err(LakeError::NoUniverse { .. })));
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
