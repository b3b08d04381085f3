//! Transactions of insiders from the SEC's quarterly data set: the
//! non-derivative table of Forms 4 and 4/A. Owners' addresses are not read.

use std::collections::HashMap;

use chrono::NaiveDate;

use super::{
    Feed, Head, Rejected, Rows, Transaction,
    facts::filing_url,
    tsv::{Row, Tsv},
};
use crate::{LakeError, Universe, calendar};

/// Columns that are read of each table.
const SUBMISSION: [&str; 6] = [
    "ACCESSION_NUMBER",
    "FILING_DATE",
    "PERIOD_OF_REPORT",
    "DATE_OF_ORIG_SUB",
    "DOCUMENT_TYPE",
    "ISSUERCIK",
];
const OWNER: [&str; 4] =
    ["ACCESSION_NUMBER", "RPTOWNERCIK", "RPTOWNERNAME", "RPTOWNER_RELATIONSHIP"];
const TRANSACTION: [&str; 7] = [
    "ACCESSION_NUMBER",
    "NONDERIV_TRANS_SK",
    "TRANS_DATE",
    "TRANS_CODE",
    "TRANS_SHARES",
    "TRANS_PRICEPERSHARE",
    "TRANS_ACQUIRED_DISP_CD",
];

/// What a filing's transactions have in common.
struct Submission {
    ticker: String,
    cik: u64,
    filed: NaiveDate,
    period: NaiveDate,
    form: String,
    orig_filed: Option<NaiveDate>,
}

/// An owner as a form names it.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub(crate) cik: String,
    pub(crate) name: String,
    /// Roles as the SEC's tables name them, e.g. `Director,Officer`.
    pub(crate) relationship: String,
}

impl Owner {
    /// Returns the owner that stands for all owners of a form, as in the SEC's tables:
    /// the first. None of the list is one that cannot be read.
    pub(crate) fn first(
        owners: impl IntoIterator<Item = Option<Self>>,
    ) -> Result<Self, &'static str> {
        owners.into_iter().next().flatten().ok_or("its form names no owner")
    }
}

/// Reads the transactions of the universe's issuers, matched by CIK: the
/// trading symbol on a form is free text (`(KO)`), and changes hands.
pub(crate) fn read_insider(
    feed: &Feed<'_>,
    universe: &Universe,
) -> Result<Rows<Transaction>, LakeError> {
    let member = feed.source.member("insider", None)?;
    let zip = feed.archive.read(&member)?;
    let tsv = |file: &str, columns: &[&str]| Tsv::open(feed, &zip, &member, file, columns);
    let mut rejected = Vec::new();
    let submissions = tsv("SUBMISSION.tsv", &SUBMISSION)?;
    let filings = read_filings(feed, universe, &submissions, &mut rejected);
    let mut owners = HashMap::<String, Vec<Owner>>::new();
    for row in tsv("REPORTINGOWNER.tsv", &OWNER)?.rows() {
        if filings.contains_key(row.get("ACCESSION_NUMBER")) {
            owners.entry(row.get("ACCESSION_NUMBER").to_owned()).or_default().push(Owner {
                cik: row.get("RPTOWNERCIK").to_owned(),
                name: row.get("RPTOWNERNAME").to_owned(),
                relationship: row.get("RPTOWNER_RELATIONSHIP").to_owned(),
            });
        }
    }
    let mut rows = Vec::new();
    for row in tsv("NONDERIV_TRANS.tsv", &TRANSACTION)?.rows() {
        let accession = row.get("ACCESSION_NUMBER");
        let Some(filing) = filings.get(accession) else {
            continue;
        };
        let owners = owners.get(accession).into_iter().flatten().cloned();
        match transaction(filing, Owner::first(owners.map(Some)), &row) {
            Ok(seen) => rows.push((head(feed, filing, &seen, row.get("NONDERIV_TRANS_SK")), seen)),
            Err(reason) => rejected.push(feed.reject(row.place(), reason, accession)),
        }
    }
    Ok(Rows { rows, rejected, members: vec![member] })
}

/// Returns the universe's Forms 4 and 4/A by accession number. Other forms and
/// issuers are out of scope, not rejected.
fn read_filings(
    feed: &Feed<'_>,
    universe: &Universe,
    submissions: &Tsv,
    rejected: &mut Vec<Rejected>,
) -> HashMap<String, Submission> {
    let issuers = universe.issuers();
    let mut filings = HashMap::new();
    for row in submissions.rows() {
        let cik = row.get("ISSUERCIK").parse::<u64>().unwrap_or_default();
        let Some(ticker) = issuers.get(&cik) else {
            continue;
        };
        if matches!(row.get("DOCUMENT_TYPE"), "4" | "4/A") {
            let accession = row.get("ACCESSION_NUMBER");
            match filing(cik, ticker, &row) {
                Ok(filing) => drop(filings.insert(accession.to_owned(), filing)),
                Err(reason) => rejected.push(feed.reject(row.place(), reason, accession)),
            }
        }
    }
    filings
}

fn filing(cik: u64, ticker: &str, row: &Row<'_>) -> Result<Submission, String> {
    let filed = date(row.get("FILING_DATE")).ok_or("its filing date is not DD-MON-YYYY")?;
    let period =
        date(row.get("PERIOD_OF_REPORT")).ok_or("its period of report is not DD-MON-YYYY")?;
    let orig_filed = date(row.get("DATE_OF_ORIG_SUB"));
    let form = row.get("DOCUMENT_TYPE").to_owned();
    Ok(Submission { ticker: ticker.to_owned(), cik, filed, period, form, orig_filed })
}

fn transaction(
    filing: &Submission,
    owner: Result<Owner, &'static str>,
    row: &Row<'_>,
) -> Result<Transaction, String> {
    let trade_date =
        date(row.get("TRANS_DATE")).ok_or("its transaction date is not DD-MON-YYYY")?;
    let number = |column: &str| row.get(column).parse::<f64>().ok();
    let shares = number("TRANS_SHARES").ok_or("its number of shares is not a number")?;
    let price = number("TRANS_PRICEPERSHARE");
    if price.is_none() && !row.get("TRANS_PRICEPERSHARE").is_empty() {
        return Err("its price is not a number".to_owned());
    }
    let owner = owner?;
    Ok(Transaction {
        accession: row.get("ACCESSION_NUMBER").to_owned(),
        form: filing.form.clone(),
        filed: filing.filed,
        period: filing.period,
        orig_filed: filing.orig_filed,
        owner_cik: owner.cik,
        owner: owner.name,
        relationship: owner.relationship,
        trade_date,
        code: row.get("TRANS_CODE").to_owned(),
        acquired: row.get("TRANS_ACQUIRED_DISP_CD").to_owned(),
        shares,
        price,
        plan_10b5_1: None,
    })
}

fn head(feed: &Feed<'_>, filing: &Submission, transaction: &Transaction, key: &str) -> Head {
    Head {
        record_id: format!("{}-{key}", transaction.accession),
        ticker: filing.ticker.clone(),
        source_id: feed.source.id.clone(),
        source: format!("SEC Form {} {}", filing.form, transaction.accession),
        url: filing_url(filing.cik, &transaction.accession),
        event_time: calendar::midnight(transaction.trade_date),
        known_at: calendar::filing_known(filing.filed),
    }
}

fn date(text: &str) -> Option<NaiveDate> {
    NaiveDate::parse_from_str(text, "%d-%b-%Y").ok()
}
