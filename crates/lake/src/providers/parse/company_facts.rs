//! Facts of filings in EDGAR's companyfacts form. Every version is kept: a
//! restatement is another record of the same period with another accession.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Context, date};
use crate::{
    LakeError, calendar,
    records::{Fact, Head, Rows, filing_url},
};

#[derive(Deserialize)]
struct CompanyFacts {
    cik: u64,
    facts: Map<String, Value>,
}

#[derive(Deserialize)]
struct Row {
    start: Option<String>,
    end: String,
    val: f64,
    accn: String,
    fy: Option<i64>,
    fp: Option<String>,
    form: String,
    filed: String,
}

/// Where a fact stands in its document.
#[derive(Clone, Copy)]
struct Series<'a> {
    cik: u64,
    concept: &'a str,
    unit: &'a str,
}

/// Reads the facts of a registrant. `known` tells when filings became known, by
/// accession number; a fact of another filing is known at the end of its filing date.
///
/// # Errors
/// Fails when it is no such document, or about another registrant.
pub(crate) fn company_facts(
    context: &Context<'_>,
    bytes: &[u8],
    known: &BTreeMap<String, DateTime<Utc>>,
) -> Result<Rows<Fact>, LakeError> {
    let company: CompanyFacts = serde_json::from_slice(bytes).map_err(|e| context.format(e))?;
    context.check_issuer(company.cik)?;
    let mut found = Rows::default();
    for (taxonomy, concepts) in &company.facts {
        let Some(concepts) = concepts.as_object() else {
            let reason = "its concepts are no object";
            found.rejected.push(context.reject::<Fact>(taxonomy, reason, &concepts.to_string()));
            continue;
        };
        for (concept, body) in concepts {
            let concept = format!("{taxonomy}:{concept}");
            let Some(units) = body.get("units").and_then(Value::as_object) else {
                let reason = "it has no units";
                found.rejected.push(context.reject::<Fact>(&concept, reason, &body.to_string()));
                continue;
            };
            for (unit, values) in units {
                let series = Series { cik: company.cik, concept: &concept, unit };
                read_series(context, series, values, known, &mut found);
            }
        }
    }
    Ok(found)
}

fn read_series(
    context: &Context<'_>,
    series: Series<'_>,
    values: &Value,
    known: &BTreeMap<String, DateTime<Utc>>,
    found: &mut Rows<Fact>,
) {
    let Series { concept, unit, .. } = series;
    let Some(values) = values.as_array() else {
        let (place, reason) = (format!("{concept} {unit}"), "its values are no array");
        found.rejected.push(context.reject::<Fact>(&place, reason, &values.to_string()));
        return;
    };
    for (i, value) in values.iter().enumerate() {
        match fact(context, series, value, known) {
            Ok(row) => found.rows.push(row),
            Err(reason) => {
                let place = format!("{concept} {unit}[{i}]");
                found.rejected.push(context.reject::<Fact>(&place, reason, &value.to_string()));
            }
        }
    }
}

fn fact(
    context: &Context<'_>,
    series: Series<'_>,
    value: &Value,
    known: &BTreeMap<String, DateTime<Utc>>,
) -> Result<(Head, Fact), String> {
    let row = Row::deserialize(value).map_err(|e| e.to_string())?;
    let Series { cik, concept, unit } = series;
    let day = |name: &str, text: &str| {
        date(text).ok_or_else(|| format!("its {name} {text:?} is not YYYY-MM-DD"))
    };
    let period_start = row.start.as_deref().map(|start| day("start", start)).transpose()?;
    let (period_end, filed) = (day("end", &row.end)?, day("filed", &row.filed)?);
    let ticker = context.ticker;
    let start = period_start.map(|start| start.to_string()).unwrap_or_default();
    let head = Head {
        record_id: format!("{ticker}:{}:{concept}:{unit}:{start}:{period_end}", row.accn),
        ticker: ticker.to_owned(),
        source_id: context.source_id.to_owned(),
        source: format!("SEC Form {} {}", row.form, row.accn),
        url: filing_url(cik, &row.accn),
        event_time: calendar::midnight(period_end),
        known_at: known.get(&row.accn).copied().unwrap_or_else(|| calendar::filing_known(filed)),
    };
    let fact = Fact {
        cik,
        concept: concept.to_owned(),
        unit: unit.to_owned(),
        period_start,
        period_end,
        value: row.val,
        accession: row.accn,
        filing_fy: row.fy,
        filing_fp: row.fp,
        form: row.form,
        filed,
    };
    Ok((head, fact))
}
