//! Facts of filings in EDGAR's companyfacts form. Every version is kept: a
//! restatement is another record of the same period with another accession.

use chrono::NaiveDate;
use serde::Deserialize;
use serde_json::Value;

use super::{Fact, Feed, Head, Rows};
use crate::{LakeError, Universe, calendar};

#[derive(Deserialize)]
struct CompanyFacts {
    cik: u64,
    facts: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
struct Row {
    start: Option<NaiveDate>,
    end: NaiveDate,
    val: f64,
    accn: String,
    fy: Option<i64>,
    fp: Option<String>,
    form: String,
    filed: NaiveDate,
}

/// Reads the facts of every name that has a facts symbol.
pub(crate) fn read_facts(feed: &Feed<'_>, universe: &Universe) -> Result<Rows<Fact>, LakeError> {
    let mut found = Rows::default();
    for name in &universe.names {
        let Some(symbol) = name.symbols.get("facts") else {
            continue;
        };
        let member = feed.source.member("facts", Some(symbol))?;
        let bytes = feed.archive.read(&member)?;
        let company: CompanyFacts =
            serde_json::from_slice(&bytes).map_err(|e| feed.format(&member, e))?;
        if !name.issuer_ciks.contains(&company.cik) {
            let reason = format!("it is about CIK {}, not {}", company.cik, name.ticker);
            return Err(feed.format(&member, reason));
        }
        read_company(feed, name.ticker.as_str(), &member, &company, &mut found);
        found.members.push(member);
    }
    Ok(found)
}

fn read_company(
    feed: &Feed<'_>,
    ticker: &str,
    member: &str,
    company: &CompanyFacts,
    found: &mut Rows<Fact>,
) {
    let nothing = serde_json::Map::new();
    let object = |value: &'_ Value| value.as_object().cloned();
    for (taxonomy, concepts) in &company.facts {
        for (concept, body) in object(concepts).as_ref().unwrap_or(&nothing) {
            let units = body.get("units").and_then(object);
            for (unit, values) in units.as_ref().unwrap_or(&nothing) {
                for (i, value) in values.as_array().into_iter().flatten().enumerate() {
                    let concept = format!("{taxonomy}:{concept}");
                    match fact(feed, ticker, company.cik, concept.clone(), unit, value) {
                        Ok(row) => found.rows.push(row),
                        Err(reason) => {
                            let place = format!("{member} {concept} {unit}[{i}]");
                            found.rejected.push(feed.reject(place, reason, &value.to_string()));
                        }
                    }
                }
            }
        }
    }
}

fn fact(
    feed: &Feed<'_>,
    ticker: &str,
    cik: u64,
    concept: String,
    unit: &str,
    value: &Value,
) -> Result<(Head, Fact), String> {
    let row = Row::deserialize(value).map_err(|e| e.to_string())?;
    let start = row.start.map(|s| s.to_string()).unwrap_or_default();
    let head = Head {
        record_id: format!("{ticker}:{}:{concept}:{unit}:{start}:{}", row.accn, row.end),
        ticker: ticker.to_owned(),
        source_id: feed.source.id.clone(),
        source: format!("SEC Form {} {}", row.form, row.accn),
        url: filing_url(cik, &row.accn),
        event_time: calendar::midnight(row.end),
        known_at: calendar::filing_known(row.filed),
    };
    let fact = Fact {
        cik,
        concept,
        unit: unit.to_owned(),
        period_start: row.start,
        period_end: row.end,
        value: row.val,
        accession: row.accn,
        filing_fy: row.fy,
        filing_fp: row.fp,
        form: row.form,
        filed: row.filed,
    };
    Ok((head, fact))
}

/// Returns the folder of a filing in EDGAR's archive.
pub(super) fn filing_url(cik: u64, accession: &str) -> String {
    let folder = accession.replace('-', "");
    format!("https://www.sec.gov/Archives/edgar/data/{cik}/{folder}/")
}
