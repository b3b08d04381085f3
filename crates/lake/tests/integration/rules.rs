//! The rules of reading, on synthetic records: restatements, amendments, ages.

use domain::{AsOfRead, Provenance, Section};
use lake::{Kind, LakeError, Snapshot};

use crate::{support::build, synthetic};

async fn snapshot() -> Snapshot {
    let dir = tempfile::tempdir().unwrap();
    let (sources, universe) = synthetic::install(dir.path(), &synthetic::files());
    let report = build(dir.path(), &sources, &universe, "2026-01-01T00:00:00Z").unwrap();
    Snapshot::open(&report.dir).await.unwrap()
}

async fn read(snapshot: &Snapshot, ticker: &str, as_of: &str) -> AsOfRead {
    snapshot.read(&ticker.parse().unwrap(), as_of.parse().unwrap()).await.unwrap()
}

#[tokio::test]
async fn facts_are_read_as_last_restated() {
    let snapshot = snapshot().await;
    for (as_of, growth, why) in [
        ("2020-02-03", None, "filed that evening, after midnight UTC at the latest"),
        ("2020-02-04", Some(120.0 / 100.0 - 1.0), "the annual report"),
        ("2020-06-01", Some(120.0 / 100.0 - 1.0), "the amendment is filed, not yet known"),
        (
            "2020-06-02",
            Some(120.0 / 90.0 - 1.0),
            "the old year restated; the new one stays the latest",
        ),
        ("2020-08-04", Some(126.0 / 90.0 - 1.0), "the new year restated"),
        ("2021-05-14", Some(126.0 / 90.0 - 1.0), "the last day within the ttl"),
        ("2021-05-17", None, "more than 500 days after the fiscal year"),
    ] {
        let read = read(&snapshot, "AAA", as_of).await;
        assert_eq!(read.value("revenue_growth_yoy"), growth, "{as_of}: {why}");
    }
    let read = read(&snapshot, "AAA", "2020-08-04").await;
    assert_eq!(read.value("net_margin"), Some(12.0 / 126.0));
    let growth = read.frame().iter().find(|f| f.name == "revenue_growth_yoy").unwrap();
    assert_eq!(growth.provenance.source, "SEC Form 10-K/A 1-20-3");
    assert_eq!(growth.provenance.known_at.to_rfc3339(), "2020-08-04T02:00:00+00:00");
    assert_eq!(growth.provenance.event_time.to_rfc3339(), "2019-12-31T00:00:00+00:00");
}

#[tokio::test]
async fn an_amendment_replaces_the_form_it_amends() {
    let snapshot = snapshot().await;
    for (as_of, net, sells, buys) in [
        ("2020-03-02", None, None, None),
        ("2020-03-03", Some(-1000.0), Some(1.0), Some(0.0)),
        ("2020-03-11", Some(-400.0), Some(1.0), Some(0.0)),
        ("2020-04-02", Some(-330.0), Some(1.0), Some(1.0)),
        ("2020-06-10", Some(70.0), Some(0.0), Some(1.0)),
    ] {
        let read = read(&snapshot, "AAA", as_of).await;
        let values = ["insider_net_shares_90d", "insider_sells_90d", "insider_buys_90d"];
        assert_eq!(values.map(|name| read.value(name)), [net, sells, buys], "{as_of}");
    }
}

#[tokio::test]
async fn a_section_without_data_says_so() {
    let snapshot = snapshot().await;
    let read = read(&snapshot, "BBB", "2021-06-30").await;
    for (section, statement) in [
        (
            Section::Fundamentals,
            "annual reports known in 500 days: 0 (the archive has none of this company)",
        ),
        (Section::Sentiment, "news articles known in 30 days: 0 (the archive ends 2020-03-03)"),
        (Section::Insider, "Form 4 filings known in 90 days: 0 (the archive ends 2020-04-01)"),
    ] {
        let items: Vec<_> = read.section(section).collect();
        assert_eq!(items.len(), 1);
        assert!(items[0].is_absence());
        assert_eq!(items[0].text(), statement);
        assert_eq!(items[0].provenance().known_at, read.as_of().instant());
        assert_eq!(items[0].provenance().source, "r2r-no-such-package 1");
    }
}

#[tokio::test]
async fn a_universe_without_a_source_of_a_kind_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (sources, mut universe) = synthetic::install(dir.path(), &synthetic::files());
    universe.feeds.retain(|feed| matches!(feed.kind, Kind::Bars | Kind::Index));
    universe.macro_series.clear();
    let report = build(dir.path(), &sources, &universe, "2026-01-01T00:00:00Z").unwrap();
    let snapshot = Snapshot::open(&report.dir).await.unwrap();
    let read = read(&snapshot, "AAA", "2021-06-30").await;
    for (section, what) in [
        (Section::Fundamentals, "annual reports known in 500 days"),
        (Section::Sentiment, "news articles known in 30 days"),
        (Section::Insider, "Form 4 filings known in 90 days"),
    ] {
        let items: Vec<_> = read.section(section).collect();
        assert_eq!(items.len(), 1, "{section}");
        assert!(items[0].is_absence());
        let text = format!("{what}: 0 (the universe has no source of them)");
        assert_eq!(items[0].text(), text);
        let Provenance { source, url, .. } = items[0].provenance();
        assert_eq!(source, "universe SYN");
        assert_eq!(*url, format!("pkg:generic/SYN@{}", read.snapshot()));
    }
    assert!(read.value("mom_30d").is_some());
}

#[tokio::test]
async fn news_late_in_the_new_york_evening_is_of_the_next_date() {
    let snapshot = snapshot().await;
    for (as_of, count) in
        [("2020-03-01", None), ("2020-03-03", Some(1.0)), ("2020-03-04", Some(2.0))]
    {
        let read = read(&snapshot, "AAA", as_of).await;
        assert_eq!(read.value("news_count_7d"), count, "{as_of}");
    }
    let read = read(&snapshot, "AAA", "2020-03-04").await;
    let texts: Vec<String> = read
        .section(Section::Sentiment)
        .filter(|i| !i.text().contains(": "))
        .map(|i| i.text())
        .collect();
    let expected =
        ["Alpha loses", "A terrible, awful loss.", "Alpha gains", "Alpha had a great day. It won."];
    assert_eq!(texts, expected);
    assert!(read.value("news_tone_7d").unwrap() < 0.5);
}

#[tokio::test]
async fn bad_reads_are_refused_with_help() {
    let snapshot = snapshot().await;
    let read = |ticker: &str, as_of: &str| {
        let (ticker, as_of) = (ticker.parse().unwrap(), as_of.parse().unwrap());
        let snapshot = &snapshot;
        async move { snapshot.read(&ticker, as_of).await.unwrap_err() }
    };
    let error = read("AAB", "2020-06-01").await;
    assert!(
        matches!(&error, LakeError::UnknownTicker { near, .. } if near[0].as_str() == "AAA"),
        "{error}"
    );
    for as_of in ["2019-12-31", "2021-07-01"] {
        let error = read("AAA", as_of).await;
        assert_eq!(
            error.to_string(),
            format!("as_of {as_of} is outside the data of this ticker, 2020-01-01 to 2021-06-30")
        );
    }
}
