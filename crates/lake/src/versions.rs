//! Sessions that became known out of order: corrected later, or delivered late; and actions
//! that were stated again.
//!
//! Every version of a session is kept, and of an action, which is a split or a dividend of a
//! day: what was stated last of it counts, all that was stated together. A cut shows the latest
//! one known, so a read is right whatever came when. A history that is computed over all times at once is right
//! only where each session became known on its day, once; for other names it is made of
//! reads.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::arrow::{
    array::{AsArray, RecordBatch, UInt32Array},
    compute::take_record_batch,
    datatypes::{Date32Type, Float64Type, TimestampMicrosecondType},
};

use crate::{Kind, LakeError};

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

/// Returns what was stated last of each session or action of a name.
pub(crate) fn latest(kind: Kind, batch: &RecordBatch) -> Result<RecordBatch, LakeError> {
    match kind {
        Kind::Actions => latest_actions(batch),
        _ => latest_sessions(batch),
    }
}

/// Returns the last row of each session, in order of sessions. The rows of the batch are
/// in order of `known_at`.
fn latest_sessions(batch: &RecordBatch) -> Result<RecordBatch, LakeError> {
    let Some((sessions, _)) = columns(batch, "session") else { return Ok(batch.clone()) };
    let latest: BTreeMap<i32, u32> = sessions.iter().copied().zip(0u32..).collect();
    let rows = latest.into_values().collect::<UInt32Array>();
    Ok(take_record_batch(batch, &rows)?)
}

/// Tells whether an action was stated more than once, at different times.
pub(crate) fn has_action_versions(batch: &RecordBatch) -> bool {
    latest_actions(batch).is_ok_and(|latest| latest.num_rows() < batch.num_rows())
}

/// Returns what was stated last of each action, in the order of the batch, that of `known_at`. What
/// is said twice is said once: two feeds may tell of one payment.
fn latest_actions(batch: &RecordBatch) -> Result<RecordBatch, LakeError> {
    let kinds = batch.column_by_name("action").and_then(|column| column.as_string_view_opt());
    let values = batch.column_by_name("value").and_then(|c| c.as_primitive_opt::<Float64Type>());
    let (Some((days, times)), Some(kinds), Some(values)) =
        (columns(batch, "ex_date"), kinds, values)
    else {
        return Ok(batch.clone());
    };
    let key = |row: usize| (days[row], kinds.value(row));
    let last: BTreeMap<_, i64> = times.iter().enumerate().map(|(row, t)| (key(row), *t)).collect();
    let mut said = BTreeSet::new();
    let mut is_last = |&(row, time): &(usize, &i64)| {
        last.get(&key(row)) == Some(time) && said.insert((key(row), values.value(row).to_bits()))
    };
    let rows = times.iter().enumerate().filter(&mut is_last);
    let rows = rows.map(|(row, _)| row as u32).collect::<UInt32Array>();
    Ok(take_record_batch(batch, &rows)?)
}

fn columns<'b>(batch: &'b RecordBatch, day: &str) -> Option<(&'b [i32], &'b [i64])> {
    let days = batch.column_by_name(day)?.as_primitive_opt::<Date32Type>()?;
    let times = batch.column_by_name("known_at")?;
    let times = times.as_primitive_opt::<TimestampMicrosecondType>()?;
    Some((days.values(), times.values()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        Date32Array, Float64Array, StringViewArray, TimestampMicrosecondArray,
    };

    use super::*;

    fn actions(rows: &[(i32, &str, f64, i64)]) -> RecordBatch {
        let days = Date32Array::from_iter_values(rows.iter().map(|row| row.0));
        let kinds = StringViewArray::from_iter_values(rows.iter().map(|row| row.1));
        let values = Float64Array::from_iter_values(rows.iter().map(|row| row.2));
        let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.3));
        RecordBatch::try_from_iter([
            ("ex_date", Arc::new(days) as _),
            ("action", Arc::new(kinds) as _),
            ("value", Arc::new(values) as _),
            ("known_at", Arc::new(times.with_timezone("UTC")) as _),
        ])
        .unwrap()
    }

    #[test]
    fn what_was_stated_last_of_an_action_counts() {
        let paid_twice = [(20, "dividend", 1.0, 3), (20, "dividend", 0.5, 3)];
        let known = actions(&[(10, "split", 8.0, 1), (20, "split", 2.0, 2)]);
        assert!(!has_action_versions(&known));
        assert!(!has_action_versions(&actions(&paid_twice)), "two payments, stated together");
        let corrected =
            actions(&[(10, "split", 8.0, 1), (10, "dividend", 1.0, 1), (10, "split", 6.0, 2)]);
        assert!(has_action_versions(&corrected));
        let twice = actions(&[(10, "split", 6.0, 1), (10, "split", 6.0, 1)]);
        let once = actions(&[(10, "split", 6.0, 1)]);
        assert_eq!(latest(Kind::Actions, &twice).unwrap(), once);
        let counted = latest(Kind::Actions, &corrected).unwrap();
        assert_eq!(counted, actions(&[(10, "dividend", 1.0, 1), (10, "split", 6.0, 2)]));
    }
}
