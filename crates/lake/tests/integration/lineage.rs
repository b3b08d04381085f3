//! Lineage: plans and manifests down to archives, on the synthetic universe.

use std::path::Path;

use domain::{AsOfRead, EvidenceItem, EvidenceKind};
use lake::{Citation, Cited, LakeError, Lineage, NodeKind, Snapshot};
use regex::Regex;

use crate::{
    support::build,
    synthetic::{self, Files},
};

async fn snapshot(dir: &Path, files: &Files) -> Snapshot {
    let (sources, universe) = synthetic::install(dir, files);
    let report = build(dir, &sources, &universe, "2026-01-01T00:00:00Z").unwrap();
    Snapshot::open(&report.dir).await.unwrap()
}

async fn read(snapshot: &Snapshot, as_of: &str) -> AsOfRead {
    snapshot.read(&"AAA".parse().unwrap(), as_of.parse().unwrap()).await.unwrap()
}

/// Digests differ with every change of a feature file, and evidence is numbered anew with
/// every further one: both are checked elsewhere.
fn without_digests(text: &str) -> String {
    let text = Regex::new("[0-9a-f]{12,64}").unwrap().replace_all(text, "<sha256>").into_owned();
    Regex::new("evidence E[0-9]+").unwrap().replace_all(&text, "evidence E?").into_owned()
}

#[tokio::test]
async fn features_are_followed_to_archives() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = snapshot(dir.path(), &synthetic::files()).await;
    let names = ["net_margin", "ret_10d", "insider_coverage"].map(str::to_owned);
    let lineage = Lineage::of_features(snapshot.manifest(), &names).await.unwrap();
    insta::assert_snapshot!("features", without_digests(&lineage.tree()));
    let one = Lineage::of_features(snapshot.manifest(), &names[..1]).await.unwrap();
    insta::assert_snapshot!("dot", without_digests(&one.dot()));

    let json = one.json();
    let archive =
        json["nodes"].as_array().unwrap().iter().find(|n| n["kind"] == "archive").unwrap();
    let package = &snapshot.manifest().data_sources[0].package;
    assert_eq!(archive["details"]["sha256"], package.sha256.to_string());
    assert_eq!(archive["details"]["licence"], "Apache-2.0");
    let feature = &json["nodes"][0];
    let reference = snapshot.manifest().features.iter().find(|f| f.name == "net_margin").unwrap();
    assert_eq!(feature["details"]["sql_sha256"], reference.sha256.to_string());
    assert_eq!(json["roots"], serde_json::json!(["feature:net_margin"]));
    // A margin is made of facts, and of nothing else.
    let tables: Vec<&str> =
        one.origins("feature:net_margin", NodeKind::Table).iter().map(|t| &*t.label).collect();
    assert_eq!(tables, ["facts"]);
}

#[tokio::test]
async fn everything_there_is_has_a_source() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = snapshot(dir.path(), &synthetic::files()).await;
    let lineage = Lineage::of_features(snapshot.manifest(), &[]).await.unwrap();
    for feature in snapshot.features() {
        let id = format!("feature:{}", feature.name);
        assert!(lineage.nodes().iter().any(|node| node.id == id), "{id}");
        assert!(!lineage.origins(&id, NodeKind::Table).is_empty(), "{id} reads nothing");
    }
    for source in &snapshot.manifest().data_sources {
        let id = format!("file:{}", source.file_hash);
        assert_eq!(lineage.origins(&id, NodeKind::Source).len(), 1, "{}", source.file_path);
    }
    let error = Lineage::of_features(snapshot.manifest(), &["net_marign".to_owned()]).await;
    assert!(matches!(error, Err(LakeError::UnknownFeature { near, .. }) if near == "net_margin"));
}

#[tokio::test]
async fn evidence_is_followed_to_records_and_files_of_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = snapshot(dir.path(), &synthetic::files()).await;
    let read = read(&snapshot, "2020-03-10").await;
    let lineage = Lineage::of_read(&snapshot, &read).await.unwrap();
    let mut texts = 0;
    for item in read.catalogue() {
        let id = format!("evidence:{}", item.id);
        assert!(!lineage.origins(&id, NodeKind::Archive).is_empty() || item.is_absence(), "{id}");
        let EvidenceKind::Text(snippet) = &item.kind else { continue };
        texts += 1;
        let records = lineage.origins(&id, NodeKind::Record);
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].id, format!("record:news/{}", snippet.record_id));
        let members = lineage.origins(&records[0].id, NodeKind::Member);
        assert_eq!(members.iter().map(|m| &*m.label).collect::<Vec<_>>(), ["news/AAA.json"]);
        assert_eq!(lineage.origins(&records[0].id, NodeKind::File).len(), 1);
    }
    assert!(texts > 0, "the read quotes nothing");
    let years =
        lineage.nodes().iter().filter(|node| node.kind == NodeKind::File).map(|node| {
            node.details.iter().find(|(key, _)| *key == "known_year").unwrap().1.clone()
        });
    assert!(years.clone().all(|year| &*year <= "2020"), "{:?}", years.collect::<Vec<_>>());

    let of_feature = |name: &str| {
        let is_it =
            |item: &&EvidenceItem| matches!(&item.kind, EvidenceKind::Numeric(f) if f.name == name);
        format!("evidence:{}", read.catalogue().iter().find(is_it).unwrap().id)
    };
    // A return ends with the close of the day, a margin with several facts of one filing.
    let records = lineage.origins(&of_feature("index_ret_21d"), NodeKind::Record);
    let labels: Vec<&str> = records.iter().map(|record| &*record.label).collect();
    assert_eq!(labels, ["SP500-2020-03-10 in index_bars"]);
    let margin = of_feature("net_margin");
    assert!(lineage.origins(&margin, NodeKind::Record).is_empty());
    let node = lineage.nodes().iter().find(|node| node.id == margin).unwrap();
    assert!(node.details.contains(&("latest_records", "3 of facts".to_owned())), "{node:?}");
}

/// States an item as an answer does.
fn citation(claim_id: &str, item: &EvidenceItem) -> Citation {
    let provenance = item.provenance().clone();
    let cited = match &item.kind {
        EvidenceKind::Text(s) => Cited::Text {
            quote: s.text.clone(),
            record_id: s.record_id.clone(),
            column: s.column.clone(),
            start: s.start,
            end: s.end,
        },
        EvidenceKind::Numeric(f) => Cited::Numeric { feature: f.name.clone(), value: f.value },
    };
    Citation {
        claim_id: claim_id.to_owned(),
        evidence_id: item.id.to_string(),
        cited,
        source: provenance.source,
        url: provenance.url,
        event_time: provenance.event_time,
        time: provenance.known_at,
    }
}

#[tokio::test]
async fn a_thesis_is_followed_only_where_every_citation_is_in_the_read() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = snapshot(dir.path(), &synthetic::files()).await;
    let read = read(&snapshot, "2020-03-10").await;
    let text = read.catalogue().iter().find(|i| matches!(i.kind, EvidenceKind::Text(_))).unwrap();
    let number = read.catalogue().iter().find(|i| i.text().starts_with("net margin")).unwrap();
    let claims = [("F1", "the margin is 10 percent"), ("S1", "the tone is good")];
    let claims = claims.map(|(id, text)| (id.to_owned(), text.to_owned()));
    let good = [citation("F1", number), citation("S1", text)];
    let lineage = Lineage::of_thesis(&snapshot, &read, &claims, &good).await.unwrap();
    insta::assert_snapshot!("thesis", without_digests(&lineage.tree()));

    let refused = async |claims: &[(String, String)], citations: &[Citation]| {
        let refused = Lineage::of_thesis(&snapshot, &read, claims, citations).await.unwrap_err();
        assert!(matches!(refused, LakeError::NotThisThesis { .. }), "{refused}");
        refused.to_string()
    };
    let mut other_value = good.clone();
    let Cited::Numeric { value, .. } = &mut other_value[0].cited else { panic!() };
    *value *= 1.000_001;
    let error = refused(&claims, &other_value).await;
    assert!(error.starts_with("claim F1: it cites E"), "{error}");
    let mut other_quote = good.clone();
    let Cited::Text { quote, .. } = &mut other_quote[1].cited else { panic!() };
    quote.push('!');
    assert!(refused(&claims, &other_quote).await.starts_with("claim S1: it cites E"));
    let mut other_time = good.clone();
    other_time[0].time -= chrono::TimeDelta::days(1);
    refused(&claims, &other_time).await;
    let mut no_such_item = good.clone();
    no_such_item[0].evidence_id = "E999".to_owned();
    refused(&claims, &no_such_item).await;
    assert_eq!(refused(&claims, &good[..1]).await, "claim S1: it cites nothing");
    let error = refused(&claims[..1], &good).await;
    assert!(error.contains("the thesis has no such claim"), "{error}");

    let mut files = synthetic::files();
    files.get_mut("index.csv").unwrap().extend_from_slice(b"2021-07-01,3100\n");
    let dir = tempfile::tempdir().unwrap();
    let (sources, universe) = synthetic::install(dir.path(), &files);
    let report = build(dir.path(), &sources, &universe, "2026-01-01T00:00:00Z").unwrap();
    let other = Snapshot::open(&report.dir).await.unwrap();
    let error = Lineage::of_thesis(&other, &read, &claims, &good).await.unwrap_err().to_string();
    assert!(error.starts_with("the read: it was read from snapshot "), "{error}");
}
