//! Tables of one's own: what is read, and what is refused before it could mislead.

use std::{fs, io::Write as _, path::Path};

use datafusion::arrow::{array::AsArray, datatypes::TimestampMicrosecondType};
use domain::Digest;
use flate2::{Compression, write::GzEncoder};
use lake::{
    BuildReport, Kind, LakeError, PackageCache, Quarantined, Snapshot, SnapshotStore, SourceList,
    Universe,
};

use crate::{support::build, synthetic::zip};

const AT_CLOSE: &str = "{column='day',time='16:00',zone='America/New_York'}";
const COLUMNS: &str = "ticker='symbol',session='day',close='close'";

/// Builds a universe of one table of bars in a member of this name.
fn build_bars(
    dir: &Path,
    (member, content): (&str, &[u8]),
    columns: &str,
    known_at: &str,
) -> Result<BuildReport, LakeError> {
    let keys = format!(
        "columns={{{columns}}}\nconstants={{basis='total_return_adjusted'}}\nknown_at={known_at}\n"
    );
    build_tables(dir, &[("bars", member, content, &keys)])
}

/// Builds a universe of tables: kind, member, content and keys of each.
fn build_tables(
    dir: &Path,
    tables: &[(&str, &str, &[u8], &str)],
) -> Result<BuildReport, LakeError> {
    let files: Vec<_> = tables.iter().map(|(_, member, content, _)| (*member, *content)).collect();
    let wheel = zip(&files);
    let members = tables.iter().map(|(kind, member, ..)| format!("{kind}='{member}'\n"));
    let list = format!(
        "[mine]\npackage='r2r-no-such-table'\nversion='1'\narchive='wheel'\nsha256='{}'\n\
         licence='MIT'\nredistributable=true\nentitlement='licensed'\n[mine.members]\n{}",
        Digest::of(&wheel),
        members.collect::<String>()
    );
    let sources = SourceList::parse("sources.toml", &list).unwrap();
    let path = PackageCache::new(dir.join("packages")).path(sources.get("mine").unwrap());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, wheel).unwrap();
    let feeds = tables.iter().map(|(kind, .., keys)| {
        format!("[[feeds]]\nkind='{kind}'\nsource='mine'\nformat='table'\n[feeds.table]\n{keys}")
    });
    let universe = format!(
        "id='MINE'\ntitle='mine'\nbias='made up'\n\
         names=[{{ticker='AAA',company='Alpha',issuer_ciks=[1],aliases=['Alpha']}}]\n{}",
        feeds.collect::<String>()
    );
    let universe = Universe::parse("universe.toml", &universe).unwrap();
    build(dir, &sources, &universe, "2026-01-01T00:00:00Z")
}

fn csv(content: &str, columns: &str, known_at: &str) -> Result<BuildReport, LakeError> {
    let dir = tempfile::tempdir().unwrap();
    build_bars(dir.path(), ("bars.csv", content.as_bytes()), columns, known_at)
}

fn bars(report: &BuildReport) -> usize {
    report.records.iter().find(|(kind, _)| *kind == Kind::Bars).unwrap().1
}

#[track_caller]
fn refused(found: Result<BuildReport, LakeError>, expected: &str) {
    let error = found.unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

async fn known_at(known_at: &str, cell: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let content = format!("symbol,day,at,close\nAAA,2024-05-01,{cell},10\n");
    let bars = ("bars.csv", content.as_bytes());
    let report = build_bars(dir.path(), bars, COLUMNS, known_at).unwrap();
    let store = SnapshotStore::local(dir.path());
    let manifest = store.manifest(report.id).await.unwrap();
    let batch = store.batches(&manifest).await.unwrap().remove(&Kind::Bars).unwrap();
    let times = batch.column_by_name("known_at").unwrap();
    times.as_primitive::<TimestampMicrosecondType>().value_as_datetime(0).unwrap().to_string()
}

#[tokio::test]
async fn a_time_of_day_is_never_dropped() {
    let zone = "{column='at',zone='America/New_York'}";
    for cell in
        ["2024-05-01 16:30:00", "2024-05-01T16:30:00", "2024-05-01 16:30", "2024-05-01T20:30:00Z"]
    {
        assert_eq!(known_at(zone, cell).await, "2024-05-01 20:30:00", "{cell}");
    }
    let stated = "{column='at',time='16:30',zone='America/New_York'}";
    // Midnight is what a data frame writes behind a date.
    for cell in ["2024-05-01", "2024-05-01 00:00:00", "2024-05-01 00:00:00-04:00"] {
        assert_eq!(known_at(stated, cell).await, "2024-05-01 20:30:00", "{cell}");
    }
    let content = "symbol,day,at,close\nAAA,2024-05-01,2024-05-01 10:00:00,10\n";
    refused(csv(content, COLUMNS, stated), "not a time of the stated form");
}

#[test]
fn a_session_is_not_known_before_it_is_over() {
    let content = "symbol,day,at,close\nAAA,2024-05-01,2024-04-30,10\n";
    refused(csv(content, COLUMNS, "{column='day'}"), "known at midnight");
    let early = "{column='at',time='16:00',zone='America/New_York'}";
    refused(csv(content, COLUMNS, early), "it is known before its session");
}

#[tokio::test]
async fn a_dividend_of_the_whole_price_leaves_none_behind_it() {
    let days = [1, 2, 3, 6, 7, 8, 9, 10, 13, 14, 15, 16];
    let days = days.map(|day| format!("AAA,2024-05-{day:02},11\n")).concat();
    let bars = format!("symbol,day,close\n{days}");
    let known = format!("known_at={AT_CLOSE}\n");
    let bar_keys = format!("columns={{{COLUMNS}}}\nconstants={{basis='raw'}}\n{known}");
    let paid_keys = format!(
        "columns={{ticker='symbol',ex_date='day',value='paid'}}\n\
         constants={{action='dividend'}}\n{known}"
    );
    for (paid, after) in [("1.1", true), ("11", false), ("12.5", false)] {
        let actions = format!("symbol,day,paid\nAAA,2024-05-16,{paid}\n");
        let dir = tempfile::tempdir().unwrap();
        let tables = [
            ("bars", "bars.csv", bars.as_bytes(), &*bar_keys),
            ("actions", "actions.csv", actions.as_bytes(), &*paid_keys),
        ];
        let report = build_tables(dir.path(), &tables).unwrap();
        let snapshot = Snapshot::open(&report.dir).await.unwrap();
        let feature = ["ret_10d".to_owned()];
        let defined = async |day: &str| {
            let as_of = day.parse().unwrap();
            !snapshot.values(&"AAA".parse().unwrap(), as_of, &feature).await.unwrap().is_empty()
        };
        assert!(defined("2024-05-15").await, "{paid}");
        assert_eq!(defined("2024-05-16").await, after, "{paid}");
    }
}

#[test]
fn what_is_mapped_but_not_read_is_named() {
    let content = "symbol,day,close,v\nAAA,2024-05-01,10,5\n";
    let columns = format!("{COLUMNS},vol='v'");
    refused(csv(content, &columns, AT_CLOSE), "maps vol, which bars do not have");
    refused(csv("symbol,day,day,close\n", COLUMNS, AT_CLOSE), "two of its columns have one name");
    let content = "symbol,day,close\nAAA,05/01/2024,10\nAAA,05/02/2024,10\n";
    refused(csv(content, COLUMNS, AT_CLOSE), "none of its 2 records can be read");
}

#[tokio::test]
async fn two_bars_of_one_session_do_not_both_count() {
    let dir = tempfile::tempdir().unwrap();
    let content = b"symbol,day,close\nAAA,2024-05-01,10\nAAA,2024-05-02,11\nAAA,2024-05-02,12\n";
    let report = build_bars(dir.path(), ("bars.csv", content), COLUMNS, AT_CLOSE).unwrap();
    assert_eq!(bars(&report), 2);
    let store = SnapshotStore::local(dir.path());
    let manifest = store.manifest(report.id).await.unwrap();
    let entries: Vec<Quarantined> = store.quarantine(&manifest).await.unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].reason, "bars.csv:3 says something else of the same session");
}

#[tokio::test]
async fn rows_of_another_width_and_absurd_numbers_do_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let content = b"symbol,day,close,note\n\nAAA,2024-05-01,10,\nAAA,2024-05-02,11,9,x\n\
        AAA,2024-05-03,12\nAAA,2024-05-06,1e13,\nAAA,2024-05-07,13,\n";
    let report = build_bars(dir.path(), ("bars.csv", content), COLUMNS, AT_CLOSE).unwrap();
    assert_eq!(bars(&report), 2);
    let store = SnapshotStore::local(dir.path());
    let manifest = store.manifest(report.id).await.unwrap();
    let entries: Vec<Quarantined> = store.quarantine(&manifest).await.unwrap();
    let found: Vec<(&str, &str)> =
        entries.iter().map(|entry| (&*entry.place, &*entry.reason)).collect();
    let [longer, shorter, absurd] = found[..] else { panic!("{found:?}") };
    assert_eq!(longer, ("bars.csv:4", "it has 5 cells, the header has 4"));
    assert_eq!(shorter, ("bars.csv:5", "it has 3 cells, the header has 4"));
    assert_eq!(absurd.1, "its close is outside 1e-9 to 1e12");
}

#[test]
fn a_file_is_read_whole_or_not_at_all() {
    let open = "symbol,day,close,note\nAAA,2024-05-01,10,\"no end\nAAA,2024-05-02,11,fine\n";
    refused(csv(open, COLUMNS, AT_CLOSE), "a quoted cell does not end");
    let zipped = |text: &str| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    // As `cat one.gz two.gz` makes it.
    let two = [
        zipped("symbol,day,close\nAAA,2024-05-01,10\n"),
        zipped("AAA,2024-05-02,11\nAAA,2024-05-03,12\n"),
    ];
    let dir = tempfile::tempdir().unwrap();
    let bars_gz = ("bars.csv.gz", &*two.concat());
    assert_eq!(bars(&build_bars(dir.path(), bars_gz, COLUMNS, AT_CLOSE).unwrap()), 3);
}

#[test]
fn the_names_of_r2r_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.toml");
    for id in ["R20", "current"] {
        let text = format!(
            "id='{id}'\ntitle='mine'\nbias='made up'\nfeeds=[]\n\
             names=[{{ticker='AAA',company='Alpha',issuer_ciks=[1],aliases=['Alpha']}}]\n"
        );
        fs::write(&path, text).unwrap();
        let error = Universe::load(&path).unwrap_err().to_string();
        assert!(error.contains("is taken by r2r"), "{error}");
    }
}
