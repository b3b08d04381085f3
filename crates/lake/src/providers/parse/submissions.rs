//! EDGAR's list of a registrant's filings: `CIK##########.json` and the files of
//! older filings that it names. A list is a set of parallel arrays.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDateTime, Utc};
use serde_json::{Map, Value};

use super::{Context, date, is_accession, is_file_name};
use crate::{
    LakeError, calendar,
    records::{Filing, Head, Rows},
};

/// Arrays that are read.
const COLUMNS: [&str; 6] = [
    "accessionNumber",
    "filingDate",
    "reportDate",
    "acceptanceDateTime",
    "form",
    "primaryDocument",
];

/// A list of filings.
#[derive(Debug)]
pub(crate) struct Submissions {
    pub(crate) filings: Rows<Filing>,
    /// Names of the files of older filings, to be asked for in turn.
    pub(crate) overflow: Vec<String>,
}

/// Reads the list of a registrant, or a file of its older filings.
///
/// # Errors
/// Fails when it is no such list, or about another registrant.
pub(crate) fn submissions(
    context: &Context<'_>,
    cik: u64,
    bytes: &[u8],
) -> Result<Submissions, LakeError> {
    let document: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|e| context.format(e))?;
    let mut filings = Rows::default();
    let mut overflow = Vec::new();
    // A file of older filings holds the arrays alone.
    let recent = match document.get("filings") {
        None => &document,
        Some(parts) => {
            let found = document.get("cik").and_then(cik_of);
            let found = found.ok_or_else(|| context.format("it names no CIK"))?;
            if found != cik {
                return Err(context.format(format!("it is about CIK {found}, not {cik}")));
            }
            for (i, file) in array(parts.get("files")).iter().enumerate() {
                let name = file.get("name").and_then(Value::as_str).unwrap_or_default();
                if is_file_name(name) && name.starts_with("CIK") {
                    overflow.push(name.to_owned());
                } else {
                    let (place, reason) = (format!("files[{i}]"), "it names no file");
                    filings.rejected.push(context.reject::<Filing>(
                        &place,
                        reason,
                        &file.to_string(),
                    ));
                }
            }
            let recent = parts.get("recent").and_then(Value::as_object);
            recent.ok_or_else(|| context.format("it has no filings.recent"))?
        }
    };
    context.check_issuer(cik)?;
    read_arrays(context, cik, recent, &mut filings)?;
    Ok(Submissions { filings, overflow })
}

/// Returns when each filing is known, by its accession number.
pub(crate) fn known_times(filings: &[(Head, Filing)]) -> BTreeMap<String, DateTime<Utc>> {
    filings.iter().map(|(head, filing)| (filing.accession.clone(), head.known_at)).collect()
}

fn read_arrays(
    context: &Context<'_>,
    cik: u64,
    list: &Map<String, Value>,
    filings: &mut Rows<Filing>,
) -> Result<(), LakeError> {
    let mut columns: [&[Value]; 6] = [&[]; 6];
    for (column, name) in columns.iter_mut().zip(COLUMNS) {
        let values = list.get(name).and_then(Value::as_array);
        *column = values.ok_or_else(|| context.format(format!("it has no array {name}")))?;
    }
    let lengths = columns.map(<[Value]>::len);
    if lengths.iter().any(|len| *len != lengths[0]) {
        // Which filing a value belongs to is anyone's guess: none is read.
        let listed: Vec<String> =
            COLUMNS.iter().zip(lengths).map(|(name, len)| format!("{name} {len}")).collect();
        let reason = format!("its arrays differ in length: {}", listed.join(", "));
        filings.rejected.push(context.reject::<Filing>("filings", reason, ""));
        return Ok(());
    }
    for i in 0..lengths[0] {
        let cells = columns.map(|column| column[i].as_str().unwrap_or_default());
        match filing(context, cik, cells) {
            Ok(row) => filings.rows.push(row),
            Err(reason) => {
                let place = format!("filings[{i}]");
                filings.rejected.push(context.reject::<Filing>(&place, reason, &cells.join(" ")));
            }
        }
    }
    Ok(())
}

fn filing(
    context: &Context<'_>,
    cik: u64,
    [accession, filed, report, accepted, form, document]: [&str; 6],
) -> Result<(Head, Filing), &'static str> {
    if !is_accession(accession) {
        return Err("its accessionNumber is not ##########-##-######");
    }
    if form.is_empty() {
        return Err("it names no form");
    }
    let filed = date(filed).ok_or("its filingDate is not YYYY-MM-DD")?;
    let period_end = match report {
        "" => None,
        report => Some(date(report).ok_or("its reportDate is not YYYY-MM-DD")?),
    };
    let accepted = match accepted {
        "" => None,
        label => {
            let label = acceptance_label(label)
                .ok_or("its acceptanceDateTime is not YYYY-MM-DDTHH:MM:SS.000Z")?;
            Some(calendar::accepted_at(label, filed, form))
        }
    };
    let filing = Filing {
        cik,
        accession: accession.to_owned(),
        form: form.to_owned(),
        filed,
        // The report date of proxy material is the meeting's, after the filing.
        period_end: period_end.filter(|end| *end <= filed || reports_on_period(form)),
        primary_document: document.to_owned(),
    };
    Ok(context.filing(filing, accepted))
}

fn reports_on_period(form: &str) -> bool {
    ["10-", "8-K", "20-F", "40-F", "6-K"].iter().any(|start| form.starts_with(start))
}

/// Reads a label of an acceptance, whose zone is not to be trusted.
fn acceptance_label(text: &str) -> Option<NaiveDateTime> {
    date(text)?;
    NaiveDateTime::parse_from_str(text.trim_end_matches('Z'), "%Y-%m-%dT%H:%M:%S%.f").ok()
}

fn cik_of(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn array(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
