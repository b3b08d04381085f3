//! Tests of the parsers on payloads written for them in the form of the providers.

mod documents;
mod edgar;
mod estimates;
mod hostile;
mod news;

use chrono::{DateTime, Utc};

use super::*;
use crate::{
    LakeError,
    records::{Filing, Head, Parsed, Record, Rows, finish},
};

const CIK: u64 = 320_193;

macro_rules! payload {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/data/providers/", $name)).as_slice()
    };
}
use payload;

fn context() -> Context<'static> {
    Context {
        source_id: "test",
        ticker: "AAPL",
        issuer_ciks: &[CIK],
        place: "https://provider.example/answer",
    }
}

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn day(text: &str) -> chrono::NaiveDate {
    text.parse().unwrap()
}

/// A filing that was accepted when EDGAR's clock says so.
fn filing(form: &str, filed: &str, accepted: Option<&str>) -> (Head, Filing) {
    let filing = Filing {
        cik: CIK,
        accession: "0000320193-22-000108".to_owned(),
        form: form.to_owned(),
        filed: day(filed),
        period_end: None,
        primary_document: "annual.htm".to_owned(),
    };
    context().filing(filing, accepted.map(utc))
}

/// Checks rows as a snapshot does; returns those it takes, and why others are not.
fn finished<R: Record>(rows: Rows<R>) -> (usize, Vec<String>) {
    let Parsed { batch, rejected, .. } = finish(rows).unwrap();
    (batch.num_rows(), rejected.into_iter().map(|r| r.reason).collect())
}

fn reasons<R>(rows: &Rows<R>) -> Vec<&str> {
    rows.rejected.iter().map(|r| &*r.reason).collect()
}

fn format_error<T: std::fmt::Debug>(result: Result<T, LakeError>) -> String {
    match result {
        Err(LakeError::Format { source_id, member, reason }) => {
            assert_eq!((&*source_id, &*member), (context().source_id, context().place));
            reason
        }
        other => panic!("no format error: {other:?}"),
    }
}
