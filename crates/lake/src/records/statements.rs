//! The SEC's Financial Statement Data Sets: a zip file per quarter with one table of
//! filings (`sub.txt`) and one of the numbers in them (`num.txt`).

use std::collections::HashMap;

use chrono::{DateTime, Days, Months, NaiveDate, NaiveDateTime, Utc};

use super::{Fact, Feed, Filing, Head, Rows, facts::filing_url, tsv::Tsv};
use crate::{LakeError, Universe, calendar};

const SUBMISSION: [&str; 9] =
    ["adsh", "cik", "form", "period", "fy", "fp", "filed", "accepted", "instance"];
const NUMBER: [&str; 8] = ["adsh", "tag", "version", "coreg", "ddate", "qtrs", "uom", "value"];

/// What is known of a filing.
struct Submission {
    ticker: String,
    head: Head,
    filing: Filing,
    fy: Option<i64>,
    fp: Option<String>,
}

/// Reads the filings of the universe's issuers.
pub(crate) fn read_statement_filings(
    feed: &Feed<'_>,
    universe: &Universe,
) -> Result<Rows<Filing>, LakeError> {
    let mut found = Rows::default();
    for member in members(feed)? {
        let zip = feed.archive.read(&member)?;
        let filings = submissions(feed, universe, &zip, &member, &mut found)?;
        found.rows.extend(filings.into_values().map(|s| (s.head, s.filing)));
        found.members.push(member);
    }
    Ok(found)
}

/// Reads the numbers of the universe's issuers: consolidated ones, in concepts of the
/// US GAAP or DEI taxonomy. A number of a subsidiary or of a concept of the filer's own
/// is out of scope, not rejected.
pub(crate) fn read_statement_facts(
    feed: &Feed<'_>,
    universe: &Universe,
) -> Result<Rows<Fact>, LakeError> {
    let mut found = Rows::default();
    for member in members(feed)? {
        let zip = feed.archive.read(&member)?;
        let filings = submissions(feed, universe, &zip, &member, &mut found)?;
        let numbers = Tsv::open(feed, &zip, &member, "num.txt", &NUMBER)?;
        for row in numbers.rows() {
            let Some(filing) = filings.get(row.get("adsh")) else { continue };
            let taxonomy = row.get("version").split('/').next().unwrap_or_default();
            if !matches!(taxonomy, "us-gaap" | "dei") || !row.get("coreg").is_empty() {
                continue;
            }
            let concept = format!("{taxonomy}:{}", row.get("tag"));
            let number = Number {
                concept,
                ddate: row.get("ddate"),
                quarters: row.get("qtrs"),
                unit: row.get("uom"),
                value: row.get("value"),
            };
            // A tag without a value says that the filer states none.
            if number.value.is_empty() {
                continue;
            }
            match fact(filing, &number) {
                Ok(fact) => found.rows.push(fact),
                Err(reason) => {
                    found.rejected.push(feed.reject(row.place(), reason, row.get("adsh")));
                }
            }
        }
        found.members.push(member);
    }
    Ok(found)
}

fn members(feed: &Feed<'_>) -> Result<Vec<String>, LakeError> {
    feed.parts.iter().map(|quarter| feed.source.member(feed.role, Some(quarter))).collect()
}

fn submissions<R>(
    feed: &Feed<'_>,
    universe: &Universe,
    zip: &[u8],
    member: &str,
    found: &mut Rows<R>,
) -> Result<HashMap<String, Submission>, LakeError> {
    let issuers = universe.issuers();
    let table = Tsv::open(feed, zip, member, "sub.txt", &SUBMISSION)?;
    let mut filings = HashMap::new();
    for row in table.rows() {
        let cik = row.get("cik").parse::<u64>().unwrap_or_default();
        let Some(ticker) = issuers.get(&cik) else { continue };
        let accession = row.get("adsh").to_owned();
        let date = |column| NaiveDate::parse_from_str(row.get(column), "%Y%m%d").ok();
        let accepted = NaiveDateTime::parse_from_str(row.get("accepted"), "%Y-%m-%d %H:%M:%S%.f");
        let (Some(filed), Ok(accepted)) = (date("filed"), accepted) else {
            let reason = "its filed or accepted is not a date";
            found.rejected.push(feed.reject(row.place(), reason, &accession));
            continue;
        };
        let filing = Filing {
            cik,
            accession: accession.clone(),
            form: row.get("form").to_owned(),
            filed,
            period_end: date("period"),
            primary_document: row.get("instance").to_owned(),
        };
        let head = head(feed, ticker, &filing, calendar::new_york(accepted));
        let fp = Some(row.get("fp").to_owned()).filter(|fp| !fp.is_empty());
        let (ticker, fy) = ((*ticker).to_owned(), row.get("fy").parse().ok());
        filings.insert(accession, Submission { ticker, head, filing, fy, fp });
    }
    Ok(filings)
}

fn head(feed: &Feed<'_>, ticker: &str, filing: &Filing, accepted: DateTime<Utc>) -> Head {
    let event_time = filing.period_end.map_or(accepted, calendar::midnight);
    Head {
        record_id: format!("{ticker}:{}", filing.accession),
        ticker: ticker.to_owned(),
        source_id: feed.source.id.clone(),
        source: format!("SEC Form {} {}", filing.form, filing.accession),
        url: filing_url(filing.cik, &filing.accession),
        event_time,
        known_at: calendar::accepted_known(accepted, filing.filed),
    }
}

/// A row of `num.txt`.
struct Number<'a> {
    concept: String,
    ddate: &'a str,
    quarters: &'a str,
    unit: &'a str,
    value: &'a str,
}

fn fact(of: &Submission, number: &Number<'_>) -> Result<(Head, Fact), String> {
    let period_end = NaiveDate::parse_from_str(number.ddate, "%Y%m%d")
        .map_err(|_| "its ddate is not YYYYMMDD".to_owned())?;
    let quarters: u32 =
        number.quarters.parse().map_err(|_| "its qtrs is not a number".to_owned())?;
    let value: f64 = number.value.parse().map_err(|_| "its value is not a number".to_owned())?;
    // The data set rounds periods to whole quarters and ends to whole months.
    let start = period_end.checked_sub_months(Months::new(3 * quarters));
    let start = start.and_then(|before| before.checked_add_days(Days::new(1)));
    let period_start = start.filter(|_| quarters > 0);
    let Submission { ticker, filing, .. } = of;
    let from = period_start.map(|start| start.to_string()).unwrap_or_default();
    let Number { concept, unit, .. } = number;
    let head = Head {
        record_id: format!("{ticker}:{}:{concept}:{unit}:{from}:{period_end}", filing.accession),
        event_time: calendar::midnight(period_end),
        ..of.head.clone()
    };
    let fact = Fact {
        cik: filing.cik,
        concept: number.concept.clone(),
        unit: number.unit.to_owned(),
        period_start,
        period_end,
        value,
        accession: filing.accession.clone(),
        filing_fy: of.fy,
        filing_fp: of.fp.clone(),
        form: filing.form.clone(),
        filed: filing.filed,
    };
    Ok((head, fact))
}
