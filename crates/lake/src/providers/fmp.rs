//! Estimates in the form of Financial Modeling Prep. The provider shows what stands
//! now and not since when, so every answer in the archive is read: the history of an
//! estimate is the history of asking for it.

use domain::Ticker;
use serde_json::Value;

use super::{
    RawRows,
    adapter::{Answer, Judgement, Part, Request, judge_status},
    parse::{self, Location},
};
use crate::LakeError;

pub(super) fn check_symbol(symbol: &str) -> Result<(), String> {
    symbol.parse::<Ticker>().map(|_| ()).map_err(|e| e.to_string())
}

pub(super) fn requests(symbol: &str) -> Vec<Request> {
    [
        (Part::Estimates, parse::analyst_estimates_at(symbol)),
        (Part::Targets, parse::price_targets_at(symbol)),
        (Part::TargetConsensus, parse::price_target_consensus_at(symbol)),
    ]
    .into_iter()
    .map(|(part, Location { path, query })| Request::new(part, symbol, &path, query))
    .collect()
}

pub(super) fn judge(status: u16, body: &[u8]) -> Judgement {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return match status {
            200 => Judgement::Broken("its body is not JSON".to_owned()),
            _ => judge_status(status, body),
        };
    };
    // Errors come as an object, with status 200 at times.
    let error = ["Error Message", "error", "message"].iter().find_map(|key| value.get(key));
    match error.and_then(Value::as_str) {
        Some(error) => Judgement::Refused(error.chars().take(200).collect()),
        None if status != 200 => judge_status(status, body),
        None => match value.as_array() {
            Some(rows) if rows.is_empty() => Judgement::Missing("no estimates".to_owned()),
            Some(_) => Judgement::Rows,
            None => Judgement::Broken("its body is not a list".to_owned()),
        },
    }
}

pub(super) fn parse(answer: &Answer<'_>, rows: &mut RawRows) -> Result<(), LakeError> {
    let context = answer.context(&[]);
    rows.estimates = match answer.record.part {
        Part::Estimates => parse::analyst_estimates(&context, answer.body, answer.fetched_at)?,
        Part::Targets => parse::price_targets(&context, answer.body)?,
        _ => parse::price_target_consensus(&context, answer.body, answer.fetched_at)?,
    };
    Ok(())
}
