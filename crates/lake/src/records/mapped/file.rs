//! Tables in files: CSV, JSON lines and Parquet as text cells.

use std::{collections::BTreeMap, io::BufRead, panic::catch_unwind, sync::Arc};

use bytes::Bytes;
use datafusion::{
    arrow::{
        array::{Array, AsArray},
        compute::cast,
        datatypes::DataType,
    },
    parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder,
};
use serde_json::Value;

use super::{super::Feed, TableMapping};
use crate::LakeError;

/// Bound on the keys of JSON lines: each line has a cell for each.
const COLUMNS_MAX: usize = 4_096;

/// A file as text cells.
pub(super) struct Table {
    pub(super) columns: BTreeMap<String, usize>,
    pub(super) rows: Vec<Vec<Option<String>>>,
    /// Number of each row as a person counts, and what is counted.
    numbers: Vec<u64>,
    unit: &'static str,
    /// Whether cells are told apart by their place alone.
    is_delimited: bool,
}

impl Table {
    pub(super) fn read(
        feed: &Feed<'_>,
        member: &str,
        mapping: &TableMapping,
    ) -> Result<Self, LakeError> {
        let bytes = feed.archive.read(member)?;
        let name = member.trim_end_matches(".gz");
        let read = if name.ends_with(".parquet") {
            // The reader panics on some damaged footers.
            catch_unwind(|| Self::read_parquet(bytes))
                .unwrap_or_else(|_| Err("it is not a Parquet file, or a damaged one".to_owned()))
        } else if name.ends_with(".jsonl") || name.ends_with(".ndjson") {
            Self::read_json_lines(&bytes)
        } else if name.ends_with(".csv") || name.ends_with(".tsv") || name.ends_with(".txt") {
            let default = if name.ends_with(".tsv") { '\t' } else { ',' };
            Self::read_csv(&bytes, mapping.delimiter.unwrap_or(default))
        } else {
            Err("its name ends neither in .csv, .tsv, .jsonl nor .parquet".to_owned())
        };
        read.map_err(|reason| feed.format(member, reason))
    }

    pub(super) fn place(&self, member: &str, row: usize) -> String {
        format!("{member}:{}{}", self.unit, self.numbers[row])
    }

    /// Tells what is wrong with a row as a whole: cells of one that is too short or too long
    /// may stand under names that are not theirs.
    pub(super) fn check_width(&self, row: usize) -> Result<(), String> {
        let (width, cells) = (self.columns.len(), self.rows[row].len());
        if self.is_delimited && cells != width {
            return Err(format!("it has {cells} cells, the header has {width}"));
        }
        Ok(())
    }

    fn read_csv(bytes: &[u8], delimiter: char) -> Result<Self, String> {
        let delimiter = u8::try_from(delimiter).map_err(|_| "its delimiter is not ASCII")?;
        let mut csv =
            csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(bytes);
        let header = csv.headers().map_err(|e| e.to_string())?;
        // A first column without a name is an index that a data frame was written with.
        let columns: BTreeMap<String, usize> =
            header.iter().enumerate().map(|(i, name)| (name.to_owned(), i)).collect();
        if columns.len() < header.len() {
            return Err("two of its columns have one name".to_owned());
        }
        let (mut rows, mut numbers, mut last) = (Vec::new(), Vec::new(), None);
        for line in csv.records() {
            let line = line.map_err(|e| e.to_string())?;
            numbers.push(line.position().map_or(0, csv::Position::line));
            // A quote that is not closed takes the rest of the file into the last row.
            last = line
                .iter()
                .any(|cell| cell.contains('\n'))
                .then(|| line.position().map_or(0, csv::Position::line));
            rows.push(line.iter().map(|cell| Some(cell.to_owned())).collect());
        }
        let is_open = bytes.iter().filter(|byte| **byte == b'"').count() % 2 == 1;
        if let Some(line) = last.filter(|_| is_open) {
            return Err(format!("line {line}: a quoted cell does not end"));
        }
        Ok(Self { columns, rows, numbers, unit: "", is_delimited: true })
    }

    fn read_json_lines(bytes: &[u8]) -> Result<Self, String> {
        let mut columns = BTreeMap::new();
        let mut rows = Vec::new();
        for (i, line) in bytes.lines().enumerate() {
            let line = line.map_err(|e| format!("line {}: {e}", i + 1))?;
            let value: serde_json::Map<String, Value> = if line.trim().is_empty() {
                serde_json::Map::new()
            } else {
                serde_json::from_str(&line).map_err(|e| format!("line {}: {e}", i + 1))?
            };
            let mut row = vec![None; columns.len()];
            for (key, value) in value {
                let next = columns.len();
                let at = *columns.entry(key).or_insert(next);
                if at >= COLUMNS_MAX {
                    return Err(format!("line {}: more than {COLUMNS_MAX} different keys", i + 1));
                }
                row.resize(row.len().max(at + 1), None);
                row[at] = match value {
                    Value::Null => None,
                    Value::String(text) => Some(text),
                    other => Some(other.to_string()),
                };
            }
            rows.push(row);
        }
        let numbers = (1..=rows.len() as u64).collect();
        Ok(Self { columns, rows, numbers, unit: "", is_delimited: false })
    }

    fn read_parquet(bytes: Vec<u8>) -> Result<Self, String> {
        let words = |e: &dyn std::fmt::Display| e.to_string();
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes));
        let reader = reader.and_then(|r| r.build()).map_err(|e| words(&e))?;
        let (mut columns, mut rows) = (BTreeMap::new(), Vec::new());
        for batch in reader {
            let batch = batch.map_err(|e| words(&e))?;
            let schema = batch.schema();
            columns =
                (0..batch.num_columns()).map(|i| (schema.field(i).name().clone(), i)).collect();
            let texts = batch.columns().iter().map(|column| cast(column, &DataType::Utf8));
            let texts: Vec<Arc<dyn Array>> =
                texts.collect::<Result<_, _>>().map_err(|e| words(&e))?;
            for row in 0..batch.num_rows() {
                let cell = |text: &Arc<dyn Array>| {
                    text.is_valid(row).then(|| text.as_string::<i32>().value(row).to_owned())
                };
                rows.push(texts.iter().map(cell).collect());
            }
        }
        let numbers = (1..=rows.len() as u64).collect();
        Ok(Self { columns, rows, numbers, unit: "row ", is_delimited: false })
    }
}
