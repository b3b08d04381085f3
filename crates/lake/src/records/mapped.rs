//! Records from any table - CSV, JSON lines or Parquet - by a mapping of columns
//! that the universe states.
//!
//! Every cell is read as text first, so that one set of rules and messages serves
//! all three formats.

mod file;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use chrono::{DateTime, Datelike as _, Days, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use chrono_tz::Tz;
use domain::{Digest, Ticker};
use serde::Deserialize;

use self::file::Table;
use super::{Feed, Head, Kind, Record, Rows};
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

/// Years of dates that are not a mistake.
const YEARS: RangeInclusive<i32> = 1800..=2200;

/// A row of a mapped table; gives its fields by the names of the record.
pub(crate) struct Cells<'a> {
    mapping: &'a TableMapping,
    columns: &'a BTreeMap<String, usize>,
    row: &'a [Option<String>],
    /// The fields that were looked for.
    asked: &'a RefCell<BTreeSet<String>>,
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
    let asked = RefCell::new(BTreeSet::new());
    let mut sessions = BTreeMap::new();
    for (i, row) in table.rows.iter().enumerate() {
        let cells = Cells { mapping, columns: &table.columns, row, asked: &asked };
        let ticker = table.check_width(i);
        let ticker = ticker.and_then(|()| cells.ticker(universe, R::KIND.has_ticker(), feed));
        let made = match ticker {
            // Names outside the universe are out of scope, not rejected.
            Ok(None) => continue,
            Ok(Some(ticker)) => R::from_cells(&cells).and_then(|record| {
                let head = head(feed, &member, ticker, &cells)?;
                if matches!(feed.kind, Kind::Bars | Kind::Index) {
                    only_one(&head, i, &table, &member, &mut sessions)?;
                }
                Ok((head, record))
            }),
            Err(reason) => Err(reason),
        };
        match made {
            Ok(row) => found.rows.push(row),
            Err(reason) => {
                let place = table.place(&member, i);
                found.rejected.push(feed.reject(place, reason, &row_text(row)));
            }
        }
    }
    if !found.rows.is_empty() {
        check_asked(feed, mapping, &asked.into_inner())?;
    }
    Ok(found)
}

/// The row each session of a name was first read from, by its times.
type Sessions = BTreeMap<(String, DateTime<Utc>, DateTime<Utc>), usize>;

/// Refuses a second bar of a session that became known at the same time and says something
/// else: nothing tells which one counts. The same once more is found later.
fn only_one(
    head: &Head,
    row: usize,
    table: &Table,
    member: &str,
    sessions: &mut Sessions,
) -> Result<(), String> {
    let key = (head.ticker.clone(), head.event_time, head.known_at);
    let first = *sessions.entry(key).or_insert(row);
    if first == row || row_text(&table.rows[first]) == row_text(&table.rows[row]) {
        return Ok(());
    }
    let first = table.place(member, first);
    Err(format!("{first} says something else of the same session"))
}

/// Refuses a mapping of fields that no record of the kind has.
fn check_asked(
    feed: &Feed<'_>,
    mapping: &TableMapping,
    asked: &BTreeSet<String>,
) -> Result<(), LakeError> {
    let mapped = mapping.columns.keys().chain(mapping.constants.keys());
    let Some(unknown) = mapped.chain(mapping.scale.keys()).find(|field| !asked.contains(*field))
    else {
        return Ok(());
    };
    let (kind, source) = (feed.kind.table(), &feed.source.id);
    let known: Vec<&str> = asked.iter().map(String::as_str).collect();
    let reason = format!(
        "the feed {kind} of {source} maps {unknown}, which {kind} do not have: {}",
        known.join(", ")
    );
    Err(LakeError::Config { origin: "universe".to_owned(), reason })
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
    let rule = &cells.mapping.known_at;
    let first_known = cells.time(rule)?;
    if matches!(feed.kind, Kind::Bars | Kind::Index) && rule.is_midnight(first_known) {
        return Err(
            "it would be known at midnight, and a session is at its close: give known_at a \
                    `time` and a `zone`"
                .to_owned(),
        );
    }
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
            let digest = Digest::of(format!("{ticker}\n{}", row_text(cells.row)));
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
        if !self.asked.borrow().contains(field) {
            self.asked.borrow_mut().insert(field.to_owned());
        }
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
        let date = date.filter(|(date, rest)| {
            YEARS.contains(&date.year()) && (rest.is_empty() || rest.starts_with([' ', 'T']))
        });
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
}

fn row_text(row: &[Option<String>]) -> String {
    let cells = row.iter().map(|cell| cell.as_deref().unwrap_or_default());
    cells.collect::<Vec<_>>().join("\t")
}

impl TimeRule {
    fn zone(&self) -> Result<Tz, String> {
        let zone = self.zone.as_deref().unwrap_or("UTC");
        zone.parse().map_err(|_| format!("{zone:?} is not a time zone such as America/New_York"))
    }

    fn is_midnight(&self, time: DateTime<Utc>) -> bool {
        self.zone().is_ok_and(|zone| time.with_timezone(&zone).time() == NaiveTime::MIN)
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
                if !YEARS.contains(&date.year()) {
                    return None;
                }
                date.and_time(self.clock(rest)?)
            }
        };
        calendar::in_zone(self.zone().ok()?, local.checked_add_days(lag)?)
    }

    /// Returns the time of day of a date with `rest` after it. A stated one stands for none, and
    /// for midnight, which data frames write behind dates; another is never dropped.
    fn clock(&self, rest: &str) -> Option<NaiveTime> {
        let stated = self.time_of_day().ok()?;
        let Some(rest) = rest.strip_prefix([' ', 'T']) else {
            return rest.is_empty().then(|| stated.unwrap_or(NaiveTime::MIN));
        };
        let (time, offset) = rest.split_at(rest.find(['+', '-', 'Z']).unwrap_or(rest.len()));
        let forms = ["%H:%M:%S%.f", "%H:%M"];
        let own = forms.iter().find_map(|form| NaiveTime::parse_from_str(time, form).ok())?;
        match stated {
            Some(stated) => (own == NaiveTime::MIN).then_some(stated),
            None => offset.is_empty().then_some(own),
        }
    }
}
