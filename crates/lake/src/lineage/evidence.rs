//! From evidence, and from the claims that cite it, to records and files.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike as _, Utc};
use datafusion::arrow::{
    array::{AsArray, RecordBatch},
    datatypes::TimestampMicrosecondType,
};
use domain::{AsOfRead, EvidenceId, EvidenceItem, EvidenceKind, Feature, Provenance, Snippet};
use serde::Deserialize;

use super::{Builder, Lineage, NodeKind, Scope};
use crate::{FeatureInfo, Kind, LakeError, Snapshot, gate::text};

/// A number that went through JSON may differ in its last bit.
const RELATIVE_ERROR: f64 = 1e-12;

/// Evidence that a claim of a thesis cites, as an answer states it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Citation {
    /// The claim, e.g. `F1`.
    pub claim_id: String,
    /// The item of the request's catalogue, e.g. `E4`.
    pub evidence_id: String,
    /// The text or number.
    #[serde(flatten)]
    pub cited: Cited,
    /// Where it comes from, for people.
    pub source: String,
    /// Where to find the original.
    pub url: String,
    /// What moment it is about.
    pub event_time: DateTime<Utc>,
    /// When it was first known.
    pub time: DateTime<Utc>,
}

/// What is cited.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Cited {
    /// Bytes `start..end` of a column of a record.
    Text {
        /// The bytes.
        quote: String,
        /// The record.
        record_id: String,
        /// The column.
        column: String,
        /// First byte.
        start: u32,
        /// One past the last byte.
        end: u32,
    },
    /// A value of a feature.
    Numeric {
        /// The feature.
        feature: String,
        /// The value in its own scale.
        value: f64,
    },
}

impl Lineage {
    /// Returns where each item of a read's catalogue comes from. Files are those with
    /// records of the ticker, or the market, that were known by then; the record of a
    /// numeric item is the one that became known last among what its plan reads, where
    /// there is one such.
    ///
    /// # Errors
    /// Fails when the read is not of the snapshot.
    pub async fn of_read(snapshot: &Snapshot, read: &AsOfRead) -> Result<Self, LakeError> {
        let mut builder = builder(snapshot, read)?;
        for item in read.catalogue() {
            let node = evidence(&mut builder, snapshot, read, item).await?;
            builder.graph.roots.push(node);
        }
        Ok(builder.graph)
    }

    /// Returns where each claim of a thesis comes from. `claims` are its texts by id; `read`
    /// is made again from the snapshot that the thesis names, and every citation has to be
    /// in it.
    ///
    /// # Errors
    /// Fails when a claim cites what the read does not hold, or nothing.
    pub async fn of_thesis(
        snapshot: &Snapshot,
        read: &AsOfRead,
        claims: &[(String, String)],
        citations: &[Citation],
    ) -> Result<Self, LakeError> {
        let mut builder = builder(snapshot, read)?;
        let name = format!("{} as of {}", read.ticker(), read.as_of());
        let (thesis, _) = builder.node(NodeKind::Thesis, &name, name.clone());
        builder.graph.roots.push(thesis);
        let of_claim = |id: &str| citations.iter().filter(|c| c.claim_id == id).count();
        if let Some((id, _)) = claims.iter().find(|(id, _)| of_claim(id) == 0) {
            return Err(not_this(id, "it cites nothing".to_owned()));
        }
        for citation in citations {
            let id = &citation.claim_id;
            let Some((_, text)) = claims.iter().find(|(known, _)| known == id) else {
                return Err(not_this(
                    id,
                    "evidence names it, and the thesis has no such claim".into(),
                ));
            };
            let item = cited(read, citation)?;
            let (claim, is_new) = builder.node(NodeKind::Claim, id, format!("{id}: {text}"));
            if is_new {
                builder.link(claim, thesis, &BTreeSet::new());
            }
            let item = evidence(&mut builder, snapshot, read, item).await?;
            builder.link(item, claim, &BTreeSet::new());
        }
        Ok(builder.graph)
    }
}

fn builder<'a>(snapshot: &'a Snapshot, read: &'a AsOfRead) -> Result<Builder<'a>, LakeError> {
    if read.snapshot() != snapshot.id() {
        let reason = format!(
            "it was read from snapshot {}, and this is {}",
            read.snapshot().short(),
            snapshot.id().short()
        );
        return Err(not_this("the read", reason));
    }
    let scope = Scope { ticker: read.ticker(), as_of: read.as_of() };
    Builder::new(&snapshot.manifest, &snapshot.engine, Some(scope))
}

fn not_this(claim: &str, reason: String) -> LakeError {
    let claim = match claim.len() {
        1..=3 => format!("claim {claim}"),
        _ => claim.to_owned(),
    };
    LakeError::NotThisThesis { claim, reason }
}

/// Returns the item that a citation names, where it is the same.
fn cited<'r>(read: &'r AsOfRead, citation: &Citation) -> Result<&'r EvidenceItem, LakeError> {
    let id = citation.evidence_id.strip_prefix('E').and_then(|id| id.parse().ok());
    let item = id.and_then(|id| read.item(EvidenceId(id)));
    let is_same = |item: &&EvidenceItem| {
        let Provenance { source, url, event_time, known_at } = item.provenance();
        let is_from = *source == citation.source
            && *url == citation.url
            && *event_time == citation.event_time
            && *known_at == citation.time;
        let says = match (&item.kind, &citation.cited) {
            (EvidenceKind::Text(s), Cited::Text { quote, record_id, column, start, end }) => {
                s.text == *quote
                    && s.record_id == *record_id
                    && s.column == *column
                    && (s.start, s.end) == (*start, *end)
            }
            (EvidenceKind::Numeric(f), Cited::Numeric { feature, value }) => {
                f.name == *feature && (f.value - value).abs() <= RELATIVE_ERROR * f.value.abs()
            }
            _ => false,
        };
        is_from && says
    };
    item.filter(is_same).ok_or_else(|| {
        let what = match &citation.cited {
            Cited::Text { record_id, .. } => format!("a quote of record {record_id}"),
            Cited::Numeric { feature, value } => format!("{feature} = {value}"),
        };
        let reason = format!(
            "it cites {} as {what}, which the read of {} as of {} from snapshot {} does not hold: \
             the answer was changed after it was written, or its quote was",
            citation.evidence_id,
            read.ticker(),
            read.as_of(),
            read.snapshot().short()
        );
        not_this(&citation.claim_id, reason)
    })
}

async fn evidence(
    builder: &mut Builder<'_>,
    snapshot: &Snapshot,
    read: &AsOfRead,
    item: &EvidenceItem,
) -> Result<usize, LakeError> {
    let (id, text) = (item.id.to_string(), item.text());
    let label = match &item.kind {
        EvidenceKind::Numeric(_) => format!("{id} {text}"),
        EvidenceKind::Text(_) => format!("{id} {text:?}"),
    };
    let (node, is_new) = builder.node(NodeKind::Evidence, &id, label);
    if !is_new {
        return Ok(node);
    }
    let Provenance { source, url, event_time, known_at } = item.provenance();
    builder.details(
        node,
        [
            ("section", item.section().key().to_owned()),
            ("known_at", known_at.to_rfc3339()),
            ("event_time", event_time.to_rfc3339()),
            ("source", source.clone()),
            ("url", url.clone()),
        ],
    );
    match &item.kind {
        EvidenceKind::Numeric(feature) => {
            let info = FeatureInfo::find(&feature.name)?;
            let made = builder.feature(&info, &snapshot.engine.reads(&info).await?);
            builder.link(made, node, &BTreeSet::new());
            latest(builder, snapshot, read, feature, node)?;
        }
        EvidenceKind::Text(snippet) => quote(builder, snapshot, read, snippet, node)?,
    }
    Ok(node)
}

/// Links a quote with its record, and with what chose it.
fn quote(
    builder: &mut Builder<'_>,
    snapshot: &Snapshot,
    read: &AsOfRead,
    snippet: &Snippet,
    node: usize,
) -> Result<(), LakeError> {
    let place = format!("{}[{}..{}]", snippet.column, snippet.start, snippet.end);
    builder.details(node, [("bytes", place)]);
    let kind = Kind::ALL.into_iter().find(|kind| kind.file() == snippet.file);
    let Some(kind) = kind else { return Err(missing(&snippet.file, &snippet.record_id)) };
    let batch = snapshot.tables.rows(kind, read.ticker().as_str());
    let row = batch.as_ref().and_then(|batch| row_of(batch, &snippet.record_id));
    let (Some(batch), Some(row)) = (batch, row) else {
        return Err(missing(&snippet.file, &snippet.record_id));
    };
    let record = record(builder, kind, &batch, row)?;
    builder.link(record, node, &BTreeSet::from([snippet.column.clone()]));
    let retrieval = &snapshot.manifest.retrieval;
    let label = retrieval.method.key().to_owned();
    let (ranked, is_new) = builder.node(NodeKind::Retrieval, &label, label.clone());
    if is_new {
        builder.details(ranked, [("queries_sha256", retrieval.queries_sha256.to_string())]);
        let weights = retrieval.weights.iter().map(|weights| &weights.package);
        for package in weights {
            let name = format!("{} {}", package.name, package.version);
            let weights = [("weights", name), ("weights_sha256", package.sha256.to_string())];
            builder.details(ranked, weights);
        }
    }
    builder.link(ranked, node, &BTreeSet::new());
    Ok(())
}

/// Links a value with the record that became known last of what its plan reads, at the
/// value's own times. Of several - the facts of one filing - which of them the value rests
/// on is not known, so they are counted and not shown.
fn latest(
    builder: &mut Builder<'_>,
    snapshot: &Snapshot,
    read: &AsOfRead,
    feature: &Feature,
    node: usize,
) -> Result<(), LakeError> {
    let made_of = builder.graph.origins(&format!("feature:{}", feature.name), NodeKind::Table);
    let tables: BTreeSet<String> = made_of.into_iter().map(|table| table.label.clone()).collect();
    let known = feature.provenance.known_at.timestamp_micros();
    let about = feature.provenance.event_time.timestamp_micros();
    for kind in Kind::ALL.into_iter().filter(|kind| tables.contains(kind.table())) {
        let ticker = if kind.has_ticker() { read.ticker().as_str() } else { "" };
        let Some(batch) = snapshot.tables.rows(kind, ticker) else { continue };
        let is_latest = |row: &usize| {
            time(&batch, "known_at", *row) == Some(known)
                && time(&batch, "event_time", *row) == Some(about)
        };
        let rows: Vec<usize> = (0..batch.num_rows()).filter(is_latest).collect();
        match rows.as_slice() {
            [] => {}
            [only] => {
                let record = record(builder, kind, &batch, *only)?;
                builder.link(record, node, &BTreeSet::new());
            }
            several => {
                let count = format!("{} of {}", several.len(), kind.table());
                builder.details(node, [("latest_records", count)]);
            }
        }
    }
    Ok(())
}

/// Adds a record and the one file of the snapshot it stands in.
fn record(
    builder: &mut Builder<'_>,
    kind: Kind,
    batch: &RecordBatch,
    row: usize,
) -> Result<usize, LakeError> {
    let (id, source_id) = (text(batch, "record_id", row), text(batch, "source_id", row));
    let name = format!("{}/{id}", kind.table());
    let (node, is_new) = builder.node(NodeKind::Record, &name, format!("{id} in {}", kind.table()));
    if !is_new {
        return Ok(node);
    }
    let known = time(batch, "known_at", row).and_then(DateTime::<Utc>::from_timestamp_micros);
    let url = text(batch, "url", row).to_owned();
    let known_at = known.map(|known| known.to_rfc3339()).unwrap_or_default();
    builder.details(node, [("known_at", known_at), ("url", url)]);
    let manifest = builder.manifest;
    let is_released =
        |r: &&crate::Release| r.kind == kind && r.source_id == source_id && r.record_id == id;
    if let Some(release) = manifest.releases.iter().find(is_released) {
        builder.details(node, [("released_by", release.reviewer.clone())]);
    }
    let year = known.map(|known| known.year());
    let holds = |source: &&crate::DataSource| {
        source.source_type == kind && source.source_id == source_id && source.known_year == year
    };
    let file = manifest.data_sources.iter().find(holds);
    let file = file.ok_or_else(|| missing(&kind.file(), id))?;
    let file = builder.file(file);
    builder.link(file, node, &BTreeSet::new());
    Ok(node)
}

fn missing(file: &str, record_id: &str) -> LakeError {
    let reason = format!("no file of it holds the record {record_id}");
    LakeError::BadSnapshot { path: file.into(), reason }
}

fn row_of(batch: &RecordBatch, record_id: &str) -> Option<usize> {
    (0..batch.num_rows()).find(|&row| text(batch, "record_id", row) == record_id)
}

fn time(batch: &RecordBatch, column: &str, row: usize) -> Option<i64> {
    let column = batch.column_by_name(column)?;
    Some(column.as_primitive_opt::<TimestampMicrosecondType>()?.value(row))
}
