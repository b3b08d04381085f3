//! The gate: what is held back, what a reviewer lets in, and from when it is known.

use std::{fs, path::Path};

use datafusion::arrow::{array::AsArray, datatypes::TimestampMicrosecondType};
use domain::{Digest, FixedClock};
use lake::{
    BuildReport, Kind, LakeError, Manifest, PackageCache, QuarantineClass, Quarantined, Release,
    Snapshot, SnapshotStore, SourceList, Universe, release,
};

use crate::{
    support::build,
    synthetic::{self, allowlist, install, zip},
};

const NOON: &str = "2026-01-01T12:00:00Z";

/// Articles: one clean, one with a press contact, then one for each classifier.
const NEWS: &str = r#"[
    {"publishedDate":"2020-03-02 09:30:00","title":"Alpha gains","text":"Alpha had a great day. It won.","site":"x.com","url":"https://x.com/1"},
    {"publishedDate":"2020-03-02 10:30:00","title":"Alpha hires","text":"For more information contact Jo Roe at jroe@alpha.example or 415-555-2671.","site":"x.com","url":"https://x.com/2"},
    {"publishedDate":"2020-03-03 09:30:00","title":"Alpha leaks","text":"The list names Jo Roe, jo.roe@home.example, 219-09-9999.","site":"x.com","url":"https://x.com/3"},
    {"publishedDate":"2020-03-04 09:30:00","title":"Draft - do not distribute","text":"Alpha will buy Beta; ask jo.roe@home.example.","site":"x.com","url":"https://x.com/4"}
]"#;

fn built(dir: &Path, sources: &SourceList, universe: &Universe, at: &str) -> BuildReport {
    build(dir, sources, universe, at).unwrap()
}

fn with_news() -> synthetic::Files {
    let mut files = synthetic::files();
    files.insert("news/AAA.json", NEWS.into());
    files.get_mut("bars.csv").unwrap().extend_from_slice(b"2021-07-01,-3,50\n");
    files
}

async fn quarantine(dir: &Path, id: Digest) -> (Manifest, Vec<Quarantined>) {
    let store = SnapshotStore::local(dir);
    let manifest = store.manifest(id).await.unwrap();
    let entries = store.quarantine(&manifest).await.unwrap();
    (manifest, entries)
}

fn let_in(dir: &Path, entries: &[&Quarantined]) -> Result<Vec<Release>, LakeError> {
    let clock = FixedClock("2026-01-02T03:04:05Z".parse().unwrap());
    release(dir, entries, "Jane Doe", "a court has published it", &clock)
}

fn of(entries: &[Quarantined], class: QuarantineClass) -> &Quarantined {
    entries.iter().find(|entry| entry.class == class).unwrap()
}

fn count(report: &BuildReport, kind: Kind) -> usize {
    report.records.iter().find(|(known, _)| *known == kind).unwrap().1
}

#[tokio::test]
async fn each_classifier_holds_back_its_record_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (sources, universe) = install(dir.path(), &with_news());
    let report = built(dir.path(), &sources, &universe, NOON);
    assert_eq!(count(&report, Kind::News), 2);
    let (manifest, entries) = quarantine(dir.path(), report.id).await;
    assert_eq!(manifest.quarantine.record_count, 3);
    assert_eq!(report.held, entries[1..], "in the order of the feeds");
    let seen: Vec<_> = entries.iter().map(|e| (e.class, e.kind, e.digest.is_some())).collect();
    use QuarantineClass::{Mnpi, Pii, Schema};
    assert_eq!(
        seen,
        [(Schema, Kind::Bars, false), (Pii, Kind::News, true), (Mnpi, Kind::News, true)]
    );
    let pii = of(&entries, Pii);
    assert_eq!(pii.reason, "email in its body at 23..42, us_ssn in its body at 44..55");
    let mnpi = of(&entries, Mnpi);
    let rules: Vec<&str> = mnpi.findings.iter().map(|f| &*f.rule).collect();
    assert_eq!(rules, ["not_for_distribution", "email"], "a marking weighs more");

    let file = fs::read_to_string(report.dir.join("quarantine.jsonl")).unwrap();
    for secret in ["jo.roe@home", "219-09-9999"] {
        assert!(!file.contains(secret), "{file}");
    }
    let snapshot = Snapshot::open(&report.dir).await.unwrap();
    let read = snapshot.read(&"AAA".parse().unwrap(), "2020-03-10".parse().unwrap()).await.unwrap();
    assert_eq!(read.value("news_count_30d"), Some(2.0), "features do not count it either");
    let ids: Vec<Digest> = entries.iter().map(|entry| entry.id).collect();
    let again = built(dir.path(), &sources, &universe, "2027-01-01T00:00:00Z");
    let (_, later) = quarantine(dir.path(), again.id).await;
    assert_eq!(later.iter().map(|entry| entry.id).collect::<Vec<_>>(), ids, "ids are stable");
}

#[tokio::test]
async fn a_release_lets_that_record_in_and_is_part_of_the_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let (sources, universe) = install(dir.path(), &with_news());
    let before = built(dir.path(), &sources, &universe, NOON);
    let (_, entries) = quarantine(dir.path(), before.id).await;
    let pii = of(&entries, QuarantineClass::Pii);
    let made = let_in(dir.path(), &[pii]).unwrap();
    let after = built(dir.path(), &sources, &universe, NOON);
    assert_ne!(after.id, before.id);
    assert_eq!((count(&after, Kind::News), after.released), (3, 1));
    let (manifest, left) = quarantine(dir.path(), after.id).await;
    assert_eq!(manifest.releases, made);
    assert!(left.iter().all(|entry| entry.id != pii.id) && left.len() == entries.len() - 1);
    assert!(built(dir.path(), &sources, &universe, "2027-01-01T00:00:00Z").already_built);

    // The same packages and releases give the same snapshot elsewhere, the packages alone
    // the first one.
    let other = tempfile::tempdir().unwrap();
    install(other.path(), &with_news());
    assert_eq!(built(other.path(), &sources, &universe, NOON).id, before.id);
    let log = "releases.jsonl";
    fs::copy(dir.path().join(log), other.path().join(log)).unwrap();
    assert_eq!(built(other.path(), &sources, &universe, NOON).id, after.id);

    // One that was changed lets nothing in.
    let changed = fs::read_to_string(other.path().join(log)).unwrap().replace("Jane", "John");
    fs::write(other.path().join(log), changed).unwrap();
    let error = build(other.path(), &sources, &universe, NOON).unwrap_err();
    assert!(matches!(error, LakeError::BadReleases { line: 1, .. }), "{error}");
}

#[tokio::test]
async fn what_could_not_be_read_is_not_released() {
    let dir = tempfile::tempdir().unwrap();
    let (sources, universe) = install(dir.path(), &with_news());
    let report = built(dir.path(), &sources, &universe, NOON);
    let (_, entries) = quarantine(dir.path(), report.id).await;
    let (pii, schema) = (of(&entries, QuarantineClass::Pii), of(&entries, QuarantineClass::Schema));
    let error = let_in(dir.path(), &[pii, schema]).unwrap_err().to_string();
    assert!(
        error.contains("could not be read (its close is not a positive number)")
            && error.contains("repair the source"),
        "{error}"
    );
    assert_eq!(built(dir.path(), &sources, &universe, NOON).id, report.id, "all or none");
}

#[test]
fn a_source_without_entitlement_is_not_built() {
    let dir = tempfile::tempdir().unwrap();
    let (sources, universe) = install(dir.path(), &synthetic::files());
    let sha256 = sources.get("synth").unwrap().sha256.to_string();
    for entitlement in ["", "entitlement = \"restricted\""] {
        let text = allowlist(&sha256).replace("entitlement = \"public\"", entitlement);
        let sources = SourceList::parse("sources.toml", &text).unwrap();
        let error = build(dir.path(), &sources, &universe, NOON).unwrap_err();
        assert!(matches!(error, LakeError::NotEntitled { .. }), "{error}");
    }
    assert!(!dir.path().join("snapshots").exists());
}

/// A universe of one table of news whose rows have ids of their own.
fn table(dir: &Path, rows: &str, embargo: &str) -> (SourceList, Universe) {
    let wheel = zip(&[("news.jsonl", rows.as_bytes())]);
    let list = format!(
        "[wire]\npackage='r2r-no-such-wire'\nversion='1'\narchive='wheel'\nsha256='{}'\n\
         licence='MIT'\nredistributable=true\nentitlement='licensed'\n{embargo}\n\
         [wire.members]\nnews='news.jsonl'\n",
        Digest::of(&wheel)
    );
    let sources = SourceList::parse("sources.toml", &list).unwrap();
    let path = PackageCache::new(dir.join("packages")).path(sources.get("wire").unwrap());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, wheel).unwrap();
    let universe = "id='WIRE'\ntitle='wire'\nbias='made up'\n\
         names=[{ticker='AAA',company='Alpha',issuer_ciks=[1],aliases=['Alpha']}]\n\
         [[feeds]]\nkind='news'\nsource='wire'\nformat='table'\n[feeds.table]\n\
         columns={record_id='id',ticker='symbol',title='title',body='body',url='url'}\n\
         known_at={column='at'}\nembargo_until={column='until'}\n";
    (sources, Universe::parse("universe.toml", universe).unwrap())
}

fn article(id: &str, body: &str, until: &str) -> String {
    format!(
        "{{\"id\":\"{id}\",\"symbol\":\"AAA\",\"title\":\"Alpha\",\"body\":\"{body}\",\
         \"url\":\"https://x.com/{id}\",\"at\":\"2020-03-02T10:00:00Z\",\"until\":\"{until}\"}}\n"
    )
}

#[tokio::test]
async fn a_release_is_for_one_content() {
    let dir = tempfile::tempdir().unwrap();
    let first = article("a", "Roe, jo.roe@home.example, said no.", "");
    let (sources, universe) = table(dir.path(), &first, "");
    let report = built(dir.path(), &sources, &universe, NOON);
    let (_, entries) = quarantine(dir.path(), report.id).await;
    let_in(dir.path(), &[&entries[0]]).unwrap();
    assert_eq!(built(dir.path(), &sources, &universe, NOON).released, 1);

    let changed = article("a", "Roe, jo.roe@home.example, said yes.", "");
    let (sources, universe) = table(dir.path(), &changed, "");
    let report = built(dir.path(), &sources, &universe, NOON);
    assert_eq!((report.released, report.held.len(), count(&report, Kind::News)), (0, 1, 0));
    let held = &report.held[0];
    assert_eq!(held.id, entries[0].id, "it is the same record");
    assert_ne!(held.digest, entries[0].digest);
    assert!(held.reason.contains("Jane Doe has released another content"), "{}", held.reason);
}

#[tokio::test]
async fn nothing_is_known_before_its_embargo_ends() {
    let rows = [
        article("a", "Alpha rose.", ""),
        article("b", "Alpha fell.", "2020-03-05T13:00:00Z"),
        article("c", "Alpha stood.", "2020-03-01T00:00:00Z"),
    ];
    for (embargo, expected) in [
        ("", ["2020-03-02T10:00:00Z", "2020-03-05T13:00:00Z", "2020-03-02T10:00:00Z"]),
        (
            "embargo={hours=12}",
            ["2020-03-02T22:00:00Z", "2020-03-06T01:00:00Z", "2020-03-02T22:00:00Z"],
        ),
        (
            "embargo={until='2020-03-04T00:00:00Z'}",
            ["2020-03-04T00:00:00Z", "2020-03-05T13:00:00Z", "2020-03-04T00:00:00Z"],
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (sources, universe) = table(dir.path(), &rows.concat(), embargo);
        // One day before the end and years after it: the snapshot is the same.
        let report = built(dir.path(), &sources, &universe, "2020-03-02T12:00:00Z");
        assert_eq!(built(dir.path(), &sources, &universe, NOON).id, report.id, "{embargo}");
        let store = SnapshotStore::local(dir.path());
        let batches = store.batches(&store.manifest(report.id).await.unwrap()).await.unwrap();
        let news = &batches[&Kind::News];
        let (ids, times) = (news.column_by_name("record_id"), news.column_by_name("known_at"));
        let ids = ids.unwrap().as_string_view();
        let times = times.unwrap().as_primitive::<TimestampMicrosecondType>();
        for (id, time) in ["a", "b", "c"].into_iter().zip(expected) {
            let row = ids.iter().position(|known| known == Some(id)).unwrap();
            let time: chrono::DateTime<chrono::Utc> = time.parse().unwrap();
            assert_eq!(times.value(row), time.timestamp_micros(), "{embargo} {id}");
        }
    }
}

/// What a reviewer sees is what the source holds, and only while it holds it.
#[tokio::test]
async fn a_reviewer_reads_the_record_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (sources, universe) = install(dir.path(), &with_news());
    let report = built(dir.path(), &sources, &universe, NOON);
    let (_, entries) = quarantine(dir.path(), report.id).await;
    let options = lake::BuildOptions {
        data_dir: dir.path(),
        universe: &universe,
        sources: &sources,
        providers: &lake::ProviderList::builtin().unwrap(),
        git_commit: "unknown",
        clock: &FixedClock(NOON.parse().unwrap()),
        progress: &indicatif::ProgressBar::hidden(),
    };
    let pii = of(&entries, QuarantineClass::Pii);
    let record = lake::quarantined_record(&options, pii).unwrap();
    let body = record.iter().find(|(column, _)| column == "body").unwrap();
    assert!(body.1.contains("jo.roe@home.example"), "{body:?}");
    let other = Quarantined { digest: Some(Digest::of("other")), ..pii.clone() };
    let error = lake::quarantined_record(&options, &other).unwrap_err().to_string();
    assert!(error.contains("does not hold this content any more"), "{error}");
}
