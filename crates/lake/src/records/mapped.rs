//! Records from any table - CSV, JSON lines or Parquet - by a mapping of columns
//! that the universe states.
//!
//! Every cell is read as text first, so that one set of rules and messages serves
//! all three formats.

use std::{collections::BTreeMap, io::BufRead, sync::Arc};

use bytes::Bytes;
use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use chrono_tz::Tz;
use datafusion::{
    arrow::{
        array::{Array, AsArray},
        compute::cast,
        datatypes::DataType,
    },
    parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder,
};
use domain::{Digest, Ticker};
use serde::Deserialize;
use serde_json::Value;

use super::{Feed, Head, Record, Rows};
use crate::{LakeError, Universe, calendar};

/// Which columns of a table make a record. In a universe, under a feed:
///
/// ```toml
/// [feeds.table]
/// columns = { ticker = "symbol", session = "date", close = "close" }
/// constants = { basis = "raw" }
/// scale = { volume = 100.0 }
/// known_at = { column = "date", time = "16:00", zone = "America/New_York" }
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableMapping {
    /// Field of the record to column of the table.
    pub columns: BTreeMap<String, String>,
    /// Field of the record to the value all rows have.
    #[serde(default)]
    pub constants: BTreeMap<String, String>,
    /// Field of the record to the factor its numbers are multiplied by.
    #[serde(default)]
    pub scale: BTreeMap<String, f64>,
    /// Form of dates, e.g. `%m/%d/%Y`; `%Y-%m-%d` where absent.
    pub date_format: Option<String>,
    /// Character between the cells of a CSV file; a comma where absent.
    pub delimiter: Option<char>,
    /// When a reader could first know a row.
    pub known_at: TimeRule,
    /// What a row is about in time; as `known_at` where absent.
    pub event_time: Option<TimeRule>,
    /// Until when nobody may know a row; an empty cell is no embargo. It only ever moves
    /// `known_at` to later.
    pub embargo_until: Option<TimeRule>,
}

/// An instant made of a column.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeRule {
    /// The column, a date or a time.
    pub column: String,
    /// Form of the column as `chrono` spells it. A column without a form is a date as
    /// the mapping's `date_format` says, or a time as RFC 3339 says.
    pub format: Option<String>,
    /// Time of day, `HH:MM`, of a column that is a date.
    pub time: Option<String>,
    /// Calendar days to add.
    #[serde(default)]
    pub lag_days: u32,
    /// Zone of what has none, e.g. `America/New_York`; UTC where absent.
    pub zone: Option<String>,
}

/// A row of a mapped table; gives its fields by the names of the record.
pub(crate) struct Cells<'a> {
    mapping: &'a TableMapping,
    columns: &'a BTreeMap<String, usize>,
    row: &'a [Option<String>],
}

/// A record that can be made of named cells.
pub(crate) trait FromCells: Record {
    /// Fields without which there is no record.
    const REQUIRED: &'static [&'static str];

    /// Makes the record, or says what is wrong with a cell.
    fn from_cells(cells: &Cells<'_>) -> Result<Self, String>;
}

/// Reads all rows that belong to a name of the universe.
pub(crate) fn read_mapped<R: FromCells>(
    feed: &Feed<'_>,
    universe: &Universe,
    mapping: &TableMapping,
) -> Result<Rows<R>, LakeError> {
    let member = feed.source.member(feed.role, None)?;
    let table = Table::read(feed, &member, mapping)?;
    check_mapping::<R>(feed, &member, mapping, &table.columns)?;
    let mut found = Rows { members: vec![member.clone()], ..Rows::default() };
    for (i, row) in table.rows.iter().enumerate() {
        let cells = Cells { mapping, columns: &table.columns, row };
        let ticker = match cells.ticker(universe, R::KIND.has_ticker(), feed) {
            Ok(Some(ticker)) => ticker,
            // Names outside the universe are out of scope, not rejected.
            Ok(None) => continue,
            Err(reason) => {
                found.rejected.push(feed.reject(
                    table.place(&member, i),
                    reason,
                    &cells.row_text(),
                ));
                continue;
            }
        };
        match R::from_cells(&cells).and_then(|r| Ok((head(feed, &member, ticker, &cells)?, r))) {
            Ok(row) => found.rows.push(row),
            Err(reason) => {
                found.rejected.push(feed.reject(
                    table.place(&member, i),
                    reason,
                    &cells.row_text(),
                ));
            }
        }
    }
    Ok(found)
}

fn check_mapping<R: FromCells>(
    feed: &Feed<'_>,
    member: &str,
    mapping: &TableMapping,
    columns: &BTreeMap<String, usize>,
) -> Result<(), LakeError> {
    let config = |reason| LakeError::Config { origin: "universe".to_owned(), reason };
    for field in R::REQUIRED {
        if !mapping.columns.contains_key(*field) && !mapping.constants.contains_key(*field) {
            return Err(config(format!(
                "the feed {} of {} maps no column to {field}: add it under [feeds.table] columns",
                feed.kind.table(),
                feed.source.id
            )));
        }
    }
    let times =
        [Some(&mapping.known_at), mapping.event_time.as_ref(), mapping.embargo_until.as_ref()];
    let times = times.into_iter().flatten();
    let used = mapping.columns.values().chain(times.clone().map(|rule| &rule.column));
    for column in used {
        if !columns.contains_key(column) {
            let known: Vec<&str> = columns.keys().map(String::as_str).collect();
            let reason = format!("it has no column {column}; it has {}", known.join(", "));
            return Err(feed.format(member, reason));
        }
    }
    for rule in times {
        rule.zone().map_err(config)?;
        rule.time_of_day().map_err(config)?;
    }
    Ok(())
}

fn head(feed: &Feed<'_>, member: &str, ticker: String, cells: &Cells<'_>) -> Result<Head, String> {
    let first_known = cells.time(&cells.mapping.known_at)?;
    let event_time = match &cells.mapping.event_time {
        Some(rule) => cells.time(rule)?,
        None => first_known,
    };
    let known_at = match &cells.mapping.embargo_until {
        Some(rule) if cells.column(&rule.column).is_some() => first_known.max(cells.time(rule)?),
        _ => first_known,
    };
    let given = |field: &str| cells.text(field).map(str::to_owned);
    let record_id = match given("record_id") {
        Some(id) => id,
        // Equal rows are one record; a row that differs in any cell is another.
        None => {
            let digest = Digest::of(format!("{ticker}\n{}", cells.row_text()));
            format!("{ticker}-{}-{}", event_time.date_naive(), digest.short())
        }
    };
    Ok(Head {
        record_id,
        ticker,
        source_id: feed.source.id.clone(),
        source: given("source").unwrap_or_else(|| feed.source.title()),
        url: given("url").unwrap_or_else(|| feed.source.url(member)),
        event_time,
        known_at,
    })
}

impl Cells<'_> {
    /// Returns the text of a field; none where it is empty or not mapped.
    pub(crate) fn text(&self, field: &str) -> Option<&str> {
        if let Some(constant) = self.mapping.constants.get(field) {
            return Some(constant);
        }
        self.column(self.mapping.columns.get(field)?)
    }

    fn column(&self, column: &str) -> Option<&str> {
        let cell = self.row.get(*self.columns.get(column)?)?.as_deref()?.trim();
        (!cell.is_empty()).then_some(cell)
    }

    /// Returns the text of a field that must be there.
    pub(crate) fn required(&self, field: &str) -> Result<String, String> {
        self.text(field).map(str::to_owned).ok_or_else(|| format!("it has no {field}"))
    }

    /// Returns a number; none where the cell is empty.
    pub(crate) fn number(&self, field: &str) -> Result<Option<f64>, String> {
        let Some(text) = self.text(field) else { return Ok(None) };
        let number = text.parse::<f64>().ok().filter(|n| n.is_finite());
        let number = number.ok_or_else(|| format!("its {field} {text:?} is not a number"))?;
        Ok(Some(number * self.mapping.scale.get(field).copied().unwrap_or(1.0)))
    }

    /// Returns a number that must be there.
    pub(crate) fn required_number(&self, field: &str) -> Result<f64, String> {
        self.number(field)?.ok_or_else(|| format!("it has no {field}"))
    }

    /// Returns a whole number that is not negative; none where the cell is empty.
    pub(crate) fn count(&self, field: &str) -> Result<Option<u64>, String> {
        let number = self.number(field)?;
        let is_count = |n: &f64| *n >= 0.0 && n.fract() == 0.0 && *n <= 9e15;
        match number {
            None => Ok(None),
            Some(n) if is_count(&n) => Ok(Some(n as u64)),
            Some(n) => Err(format!("its {field} {n} is not a whole number >= 0")),
        }
    }

    /// Returns a date; none where the cell is empty.
    pub(crate) fn date(&self, field: &str) -> Result<Option<NaiveDate>, String> {
        let Some(text) = self.text(field) else { return Ok(None) };
        let format = self.mapping.date_format.as_deref().unwrap_or("%Y-%m-%d");
        let date = NaiveDate::parse_and_remainder(text, format).ok();
        let date = date.filter(|(_, rest)| rest.is_empty() || rest.starts_with([' ', 'T']));
        date.map(|(date, _)| Some(date))
            .ok_or_else(|| format!("its {field} {text:?} is not a date of the form {format}"))
    }

    /// Returns a date that must be there.
    pub(crate) fn required_date(&self, field: &str) -> Result<NaiveDate, String> {
        self.date(field)?.ok_or_else(|| format!("it has no {field}"))
    }

    fn time(&self, rule: &TimeRule) -> Result<DateTime<Utc>, String> {
        let column = &rule.column;
        let text = self.column(column).ok_or_else(|| format!("it has no {column}"))?;
        rule.instant(text, self.mapping.date_format.as_deref())
            .ok_or_else(|| format!("its {column} {text:?} is not a time of the stated form"))
    }

    /// Returns the ticker of the universe's name the row belongs to; the empty one for
    /// kinds without tickers, none for a name outside the universe.
    fn ticker(
        &self,
        universe: &Universe,
        has_ticker: bool,
        feed: &Feed<'_>,
    ) -> Result<Option<String>, String> {
        if !has_ticker {
            return Ok(Some(String::new()));
        }
        let symbol = self.required("ticker")?;
        let name = universe.names.iter().find(|name| name.symbol(feed.kind) == symbol);
        if name.is_none() && symbol.parse::<Ticker>().is_err() {
            return Err(format!("its ticker {symbol:?} is not a ticker"));
        }
        Ok(name.map(|name| name.ticker.to_string()))
    }

    fn row_text(&self) -> String {
        let cells = self.row.iter().map(|cell| cell.as_deref().unwrap_or_default());
        cells.collect::<Vec<_>>().join("\t")
    }
}

impl TimeRule {
    fn zone(&self) -> Result<Tz, String> {
        let zone = self.zone.as_deref().unwrap_or("UTC");
        zone.parse().map_err(|_| format!("{zone:?} is not a time zone such as America/New_York"))
    }

    fn time_of_day(&self) -> Result<Option<NaiveTime>, String> {
        let Some(text) = &self.time else { return Ok(None) };
        let time = NaiveTime::parse_from_str(text, "%H:%M");
        time.map(Some).map_err(|_| format!("time {text:?} is not HH:MM"))
    }

    fn instant(&self, text: &str, date_format: Option<&str>) -> Option<DateTime<Utc>> {
        let lag = Days::new(self.lag_days.into());
        if self.format.is_none()
            && self.time.is_none()
            && let Ok(time) = DateTime::parse_from_rfc3339(text)
        {
            return time.with_timezone(&Utc).checked_add_days(lag);
        }
        let format = self.format.as_deref().or(date_format).unwrap_or("%Y-%m-%d");
        let local = match NaiveDateTime::parse_from_str(text, format) {
            Ok(time) => time,
            Err(_) => {
                let (date, rest) = NaiveDate::parse_and_remainder(text, format).ok()?;
                if !rest.is_empty() && !rest.starts_with([' ', 'T']) {
                    return None;
                }
                date.and_time(self.time_of_day().ok()?.unwrap_or(NaiveTime::MIN))
            }
        };
        calendar::in_zone(self.zone().ok()?, local.checked_add_days(lag)?)
    }
}

/// A file as text cells.
struct Table {
    columns: BTreeMap<String, usize>,
    rows: Vec<Vec<Option<String>>>,
    /// Number of the first row as a person counts, and what is counted.
    first: usize,
    unit: &'static str,
}

impl Table {
    fn read(feed: &Feed<'_>, member: &str, mapping: &TableMapping) -> Result<Self, LakeError> {
        let bytes = feed.archive.read(member)?;
        let name = member.trim_end_matches(".gz");
        let read = if name.ends_with(".parquet") {
            Self::read_parquet(bytes)
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

    fn place(&self, member: &str, row: usize) -> String {
        format!("{member}:{}{}", self.unit, row + self.first)
    }

    fn read_csv(bytes: &[u8], delimiter: char) -> Result<Self, String> {
        let delimiter = u8::try_from(delimiter).map_err(|_| "its delimiter is not ASCII")?;
        let mut csv =
            csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(bytes);
        let header = csv.headers().map_err(|e| e.to_string())?;
        // A first column without a name is an index that a data frame was written with.
        let columns = header.iter().enumerate().map(|(i, name)| (name.to_owned(), i)).collect();
        let mut rows = Vec::new();
        for line in csv.records() {
            let line = line.map_err(|e| e.to_string())?;
            rows.push(line.iter().map(|cell| Some(cell.to_owned())).collect());
        }
        Ok(Self { columns, rows, first: 2, unit: "" })
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
                row.resize(row.len().max(at + 1), None);
                row[at] = match value {
                    Value::Null => None,
                    Value::String(text) => Some(text),
                    other => Some(other.to_string()),
                };
            }
            rows.push(row);
        }
        Ok(Self { columns, rows, first: 1, unit: "" })
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
        Ok(Self { columns, rows, first: 1, unit: "row " })
    }
}
