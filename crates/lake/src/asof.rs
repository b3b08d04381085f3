//! The as-of join: to each row the last event of its key that is not later.

use datafusion::arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanBufferBuilder, RecordBatch, StringViewArray, UInt32Array,
    },
    buffer::NullBuffer,
    compute::take,
    datatypes::{Field, Schema, TimestampMicrosecondType},
};

use crate::LakeError;

/// Rows by key and time, in that order.
#[derive(Debug, Clone, Copy)]
struct Ordered<'b> {
    keys: &'b StringViewArray,
    times: &'b [i64],
}

/// Longest key that lies in its view.
const VIEW_BYTES: usize = 12;

/// A run of rows with the same key.
type Run = (usize, usize);

/// Joins to each row of `left` the last row of `right` with the same `key` whose
/// `known_at` is not later than that of the row, and no more than `ttl_micros` earlier
/// where that is given. Both are in order of `key` and `known_at`; of rows of `right`
/// with equal times the last counts. Returns `left` with the columns of `right` but
/// the key, named `name_right` where `left` has one of that name; null where there is
/// no such row. One pass over both, so it takes as long as reading them.
///
/// # Errors
/// Fails where a column is missing or of another type, and where rows are out of order.
pub fn as_of_join(
    left: &RecordBatch,
    right: &RecordBatch,
    key: &str,
    ttl_micros: Option<i64>,
) -> Result<RecordBatch, LakeError> {
    let (rows, events) = (Ordered::new(left, key)?, Ordered::new(right, key)?);
    let matches = rows.last_events(&events, ttl_micros)?;
    let mut fields: Vec<_> = left.schema().fields().iter().cloned().collect();
    let mut columns = left.columns().to_vec();
    for (field, column) in right.schema().fields().iter().zip(right.columns()) {
        if field.name() == key {
            continue;
        }
        let is_taken = left.schema().column_with_name(field.name()).is_some();
        let name = if is_taken { format!("{}_right", field.name()) } else { field.name().clone() };
        fields.push(Field::new(name, field.data_type().clone(), true).into());
        columns.push(take(column, &matches, None)? as ArrayRef);
    }
    Ok(RecordBatch::try_new(Schema::new(fields).into(), columns)?)
}

impl<'b> Ordered<'b> {
    fn new(batch: &'b RecordBatch, key: &str) -> Result<Self, LakeError> {
        let keys = batch.column_by_name(key).and_then(|column| column.as_string_view_opt());
        let times = batch.column_by_name("known_at");
        let times = times.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
        match (keys, times) {
            (Some(keys), Some(times)) if times.null_count() == 0 => {
                Ok(Self { keys, times: times.values() })
            }
            _ => Err(bad(format!(
                "it needs texts in {key} and times in known_at, none of them null"
            ))),
        }
    }

    /// Returns the rows of the key that begins at a row, which are in order of time.
    fn run_from(&self, first: usize) -> Result<Run, LakeError> {
        let (views, key) = (self.keys.views(), self.keys.value(first));
        let same_views = |from: usize| views[from..].iter().take_while(|v| **v == views[first]);
        let mut end = first + same_views(first).count();
        // Keys that do not fit into their views may lie in several places.
        while key.len() > VIEW_BYTES && end < views.len() && self.keys.value(end) == key {
            end += 1;
        }
        if !self.times[first..end].is_sorted() {
            return Err(bad(format!("the times of {key} are out of order")));
        }
        if self.times.len() > end && self.keys.value(end) <= key {
            return Err(bad(format!("{} comes after {key}", self.keys.value(end))));
        }
        Ok((first, end))
    }

    /// Returns for each row the event it is joined to.
    fn last_events(&self, events: &Self, ttl: Option<i64>) -> Result<UInt32Array, LakeError> {
        let mut matches = Matches::with_capacity(self.times.len());
        let (mut row, mut event) = (0, 0);
        while row < self.times.len() {
            let rows = self.run_from(row)?;
            row = rows.1;
            let key = self.keys.value(rows.0);
            while event < events.times.len() && events.keys.value(event) < key {
                event = events.run_from(event)?.1;
            }
            let is_there = event < events.times.len() && events.keys.value(event) == key;
            let found = if is_there { events.run_from(event)? } else { (event, event) };
            event = found.1;
            let offset = u32::try_from(found.0).map_err(|_| bad("too many events".to_owned()))?;
            let known = &events.times[found.0..found.1];
            matches.merge(&self.times[rows.0..rows.1], known, offset, ttl);
        }
        while event < events.times.len() {
            event = events.run_from(event)?.1;
        }
        Ok(matches.finish())
    }
}

/// Rows that are joined, as they are found.
struct Matches {
    rows: Vec<u32>,
    valid: BooleanBufferBuilder,
}

impl Matches {
    fn with_capacity(rows: usize) -> Self {
        Self { rows: Vec::with_capacity(rows), valid: BooleanBufferBuilder::new(rows) }
    }

    /// Joins the rows and events of one key, the first of which is row `offset` of all.
    fn merge(&mut self, rows: &[i64], events: &[i64], offset: u32, ttl: Option<i64>) {
        // Before the first event nothing is known.
        let unknown = rows.partition_point(|time| events.first().is_none_or(|event| time < event));
        self.rows.resize(self.rows.len() + unknown, 0);
        self.valid.append_n(unknown, false);
        let (mut next, mut row) = (0, offset);
        for &time in &rows[unknown..] {
            while next < events.len() && events[next] <= time {
                next += 1;
                row = row.wrapping_add(1);
            }
            self.rows.push(row.wrapping_sub(1));
            if let Some(ttl) = ttl {
                self.valid.append(time - events[next - 1] <= ttl);
            }
        }
        if ttl.is_none() {
            self.valid.append_n(rows.len() - unknown, true);
        }
    }

    fn finish(mut self) -> UInt32Array {
        UInt32Array::new(self.rows.into(), Some(NullBuffer::new(self.valid.finish())))
    }
}

fn bad(reason: String) -> LakeError {
    LakeError::BadSnapshot { path: "as-of join".into(), reason }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::{
        array::{Float64Array, TimestampMicrosecondArray},
        datatypes::{DataType, Float64Type},
    };
    use proptest::prelude::*;

    use super::*;

    fn batch(rows: &[(&str, i64, f64)]) -> RecordBatch {
        let keys = StringViewArray::from_iter_values(rows.iter().map(|row| row.0));
        let times = rows.iter().map(|row| row.1).collect::<Vec<_>>();
        let times = TimestampMicrosecondArray::from(times).with_timezone("UTC");
        let values = Float64Array::from_iter_values(rows.iter().map(|row| row.2));
        let schema = Schema::new(vec![
            Field::new("ticker", DataType::Utf8View, false),
            Field::new("known_at", times.data_type().clone(), false),
            Field::new("value", DataType::Float64, false),
        ]);
        let columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(times), Arc::new(values)];
        RecordBatch::try_new(Arc::new(schema), columns).unwrap()
    }

    fn joined(left: &RecordBatch, right: &RecordBatch, ttl: Option<i64>) -> Vec<Option<f64>> {
        let joined = as_of_join(left, right, "ticker", ttl).unwrap();
        joined.column_by_name("value_right").unwrap().as_primitive::<Float64Type>().iter().collect()
    }

    #[test]
    fn the_last_event_that_is_not_later_is_joined() {
        let left = batch(&[("A", 1, 0.0), ("A", 5, 0.0), ("A", 9, 0.0), ("C", 5, 0.0)]);
        let right = batch(&[("A", 5, 1.0), ("A", 5, 2.0), ("B", 1, 3.0), ("C", 6, 4.0)]);
        assert_eq!(joined(&left, &right, None), [None, Some(2.0), Some(2.0), None]);
        assert_eq!(joined(&left, &right, Some(3)), [None, Some(2.0), None, None]);
    }

    #[test]
    fn rows_out_of_order_are_refused() {
        let fine = batch(&[("A", 1, 0.0)]);
        for wrong in
            [batch(&[("A", 2, 0.0), ("A", 1, 0.0)]), batch(&[("B", 1, 0.0), ("A", 1, 0.0)])]
        {
            for (left, right) in [(&wrong, &fine), (&fine, &wrong)] {
                let error = as_of_join(left, right, "ticker", None).unwrap_err();
                assert!(error.to_string().contains("as-of join"), "{error}");
            }
        }
        let error = as_of_join(&fine, &fine, "name", None).unwrap_err();
        assert!(error.to_string().contains("texts in name"), "{error}");
    }

    fn rows() -> impl Strategy<Value = Vec<(&'static str, i64, f64)>> {
        // Two keys that differ after the twelve bytes that lie in a view.
        let key = prop::sample::select(vec!["A", "BRK.B", "a long ticker 1", "a long ticker 2"]);
        prop::collection::vec((key, 0..40_i64, -9.0..9.0), 0..60).prop_map(|mut rows| {
            rows.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
            rows
        })
    }

    proptest! {
        #[test]
        fn every_row_has_what_a_search_of_all_events_finds(
            left in rows(), right in rows(), ttl in prop::option::of(0..20_i64),
        ) {
            let search = |row: &(&str, i64, f64)| {
                let is_known = |event: &&(&str, i64, f64)| event.0 == row.0 && event.1 <= row.1;
                let last = right.iter().rfind(is_known);
                last.filter(|event| ttl.is_none_or(|ttl| row.1 - event.1 <= ttl)).map(|event| event.2)
            };
            let expected: Vec<_> = left.iter().map(search).collect();
            prop_assert_eq!(joined(&batch(&left), &batch(&right), ttl), expected);
        }
    }
}
