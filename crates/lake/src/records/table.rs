//! Rows to record batches: sorted, unique, with the columns all kinds share.

use std::{borrow::Cow, collections::BTreeSet, fmt::Write as _, sync::Arc};

use chrono::{Datelike, NaiveDate};
use datafusion::arrow::{
    array::{
        ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch,
        StringViewBuilder, TimestampMicrosecondArray,
    },
    datatypes::{DataType, Field, Schema},
};

use super::{Head, Parsed, Record, Rejected, Rows};
use crate::LakeError;

/// Checks rows, sorts them by ticker, time and id, rejects repeated ids and builds
/// the batch: the common columns, then those of the kind.
pub(crate) fn finish<R: Record>(found: Rows<R>) -> Result<Parsed, LakeError> {
    let Rows { mut rows, mut rejected, members } = found;
    rows.retain(|(head, row)| {
        let checked = row.check(head);
        if let Err(reason) = checked {
            rejected.push(reject::<R>(head, reason));
        }
        checked.is_ok()
    });
    // A stable sort: of rows that are equal in all three, the first stays.
    rows.sort_by(|(a, _), (b, _)| {
        (&a.ticker, a.known_at, &a.record_id).cmp(&(&b.ticker, b.known_at, &b.record_id))
    });
    let mut seen = BTreeSet::new();
    rows.retain(|(head, _)| {
        let is_new = seen.insert(head.record_id.clone());
        if !is_new {
            rejected.push(reject::<R>(head, "repeats an earlier record"));
        }
        is_new
    });
    let mut all = head_columns(R::KIND.has_ticker(), &rows);
    all.extend(R::columns(&rows));
    let fields: Vec<Field> = all
        .iter()
        .map(|(name, array)| {
            Field::new(*name, array.data_type().clone(), array.null_count() > 0 || nullable(name))
        })
        .collect();
    let arrays = all.into_iter().map(|(_, array)| array).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?;
    Ok(Parsed { batch, members, rejected })
}

fn reject<R: Record>(head: &Head, reason: &str) -> Rejected {
    Rejected {
        source_id: head.source_id.clone(),
        kind: R::KIND,
        place: head.record_id.clone(),
        reason: reason.to_owned(),
        raw: head.url.clone(),
    }
}

/// Columns that may be null in some snapshot, so that the schema does not
/// depend on the data.
fn nullable(name: &str) -> bool {
    matches!(
        name,
        "open"
            | "high"
            | "low"
            | "volume"
            | "period_start"
            | "period_end"
            | "orig_filed"
            | "price"
            | "plan_10b5_1"
    )
}

fn head_columns<R>(has_ticker: bool, rows: &[(Head, R)]) -> Vec<(&'static str, ArrayRef)> {
    let heads = || rows.iter().map(|(head, _)| head);
    let mut columns = vec![("record_id", strings(heads().map(|h| &*h.record_id)))];
    if has_ticker {
        columns.push(("ticker", strings(heads().map(|h| &*h.ticker))));
    }
    let micros = |t: chrono::DateTime<chrono::Utc>| t.timestamp_micros();
    columns.extend([
        ("source_id", strings(heads().map(|h| &*h.source_id))),
        ("source", strings(heads().map(|h| &*h.source))),
        ("url", strings(heads().map(|h| as_uri(&h.url)))),
        ("event_time", times(heads().map(|h| micros(h.event_time)))),
        ("known_at", times(heads().map(|h| micros(h.known_at)))),
    ]);
    columns
}

/// Writes what no URI may contain as percent codes (RFC 3986): a member with a space in its
/// name, an address in other letters. An answer that cites it would not be valid otherwise.
pub(crate) fn as_uri(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let is_hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    let may_stay = |at: usize, byte: u8| match byte {
        b'%' => is_hex(at + 1) && is_hex(at + 2),
        _ => byte.is_ascii_alphanumeric() || b"-._~:/?#@!$&'()*+,;=".contains(&byte),
    };
    if bytes.iter().enumerate().all(|(at, byte)| may_stay(at, *byte)) {
        return Cow::Borrowed(text);
    }
    let mut uri = String::with_capacity(text.len() + 16);
    for (at, byte) in bytes.iter().enumerate() {
        match may_stay(at, *byte) {
            true => uri.push(char::from(*byte)),
            false => _ = write!(uri, "%{byte:02X}"),
        }
    }
    Cow::Owned(uri)
}

pub(super) fn strings(values: impl Iterator<Item = impl AsRef<str>>) -> ArrayRef {
    let mut builder = StringViewBuilder::new().with_deduplicate_strings();
    values.for_each(|v| builder.append_value(v));
    Arc::new(builder.finish())
}

fn times(micros: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
}

pub(super) fn floats(values: impl Iterator<Item = f64>) -> ArrayRef {
    Arc::new(Float64Array::from_iter_values(values))
}

/// Counts and byte offsets; one beyond 2^63 does not occur.
pub(super) fn integers(values: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(values.map(|v| i64::try_from(v).unwrap_or(i64::MAX)).collect::<Int64Array>())
}

pub(super) fn optional_floats(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(values.collect::<Float64Array>())
}

pub(super) fn optional_flags(values: impl Iterator<Item = Option<bool>>) -> ArrayRef {
    Arc::new(values.collect::<BooleanArray>())
}

pub(super) fn dates(values: impl Iterator<Item = NaiveDate>) -> ArrayRef {
    Arc::new(Date32Array::from_iter_values(values.map(days)))
}

pub(super) fn optional_dates(values: impl Iterator<Item = Option<NaiveDate>>) -> ArrayRef {
    Arc::new(values.map(|d| d.map(days)).collect::<Date32Array>())
}

fn days(date: NaiveDate) -> i32 {
    // Day 719,163 of the common era is 1970-01-01.
    date.num_days_from_ce() - 719_163
}

/// The type of time columns.
pub(crate) fn time_type() -> DataType {
    DataType::Timestamp(datafusion::arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_uri_may_contain_is_written_as_codes() {
        for (given, expected) in [
            ("pkg:pypi/a@1#data/b+c.csv.gz", "pkg:pypi/a@1#data/b+c.csv.gz"),
            ("pkg:pypi/a@1#my data.csv", "pkg:pypi/a@1#my%20data.csv"),
            ("https://x.org/a%20b?q=[1]", "https://x.org/a%20b?q=%5B1%5D"),
            ("https://x.org/100%/é", "https://x.org/100%25/%C3%A9"),
        ] {
            assert_eq!(as_uri(given), expected);
        }
    }
}
