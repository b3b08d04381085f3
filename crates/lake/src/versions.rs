//! Sessions that became known out of order: corrected later, or delivered late.
//!
//! Every version of a session is kept. A cut shows the latest one known, so a read is
//! right whatever came when. A history that is computed over all times at once is right
//! only where each session became known on its day, once; for other names it is made of
//! reads.

use std::collections::BTreeMap;

use datafusion::arrow::{
    array::{AsArray, RecordBatch, UInt32Array},
    compute::take_record_batch,
    datatypes::{Date32Type, TimestampMicrosecondType},
};

use crate::LakeError;

const DAY_MICROS: i64 = 86_400_000_000;

/// Tells whether each session, in order of `known_at`, is later than those before and
/// became known on its day.
pub(crate) fn is_regular(batch: &RecordBatch) -> bool {
    let Some((sessions, times)) = columns(batch, "session") else { return false };
    sessions.windows(2).all(|pair| pair[0] < pair[1]) && known_in_time(sessions, times)
}

/// Tells whether each action became known by its day.
pub(crate) fn are_actions_regular(batch: &RecordBatch) -> bool {
    columns(batch, "ex_date").is_some_and(|(dates, times)| known_in_time(dates, times))
}

fn known_in_time(days: &[i32], times: &[i64]) -> bool {
    days.iter().zip(times).all(|(day, time)| time.div_euclid(DAY_MICROS) <= i64::from(*day))
}

/// Returns the last row of each session, in order of sessions. The rows of the batch are
/// in order of `known_at`.
pub(crate) fn latest_versions(batch: &RecordBatch) -> Result<RecordBatch, LakeError> {
    let Some((sessions, _)) = columns(batch, "session") else { return Ok(batch.clone()) };
    let latest: BTreeMap<i32, u32> = sessions.iter().copied().zip(0u32..).collect();
    let rows = latest.into_values().collect::<UInt32Array>();
    Ok(take_record_batch(batch, &rows)?)
}

fn columns<'b>(batch: &'b RecordBatch, day: &str) -> Option<(&'b [i32], &'b [i64])> {
    let days = batch.column_by_name(day)?.as_primitive_opt::<Date32Type>()?;
    let times = batch.column_by_name("known_at")?;
    let times = times.as_primitive_opt::<TimestampMicrosecondType>()?;
    Some((days.values(), times.values()))
}
