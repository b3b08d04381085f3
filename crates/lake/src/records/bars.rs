//! Wide tables: a `Date` column and one column per symbol.

use std::collections::BTreeMap;

use chrono::NaiveDate;

use super::{Bar, Feed, Head, IndexBar, PriceBasis, Rows};
use crate::{LakeError, Universe, calendar};

/// What the numbers of a wide table are.
#[derive(Clone, Copy)]
enum Cells {
    Closes,
    Returns,
}

impl Cells {
    fn admit(self, value: f64) -> bool {
        value.is_finite()
            && match self {
                Self::Closes => value > 0.0,
                Self::Returns => value > -1.0,
            }
    }

    const fn refusal(self) -> &'static str {
        match self {
            Self::Closes => "its close is not a positive number",
            Self::Returns => "its return is not a number above -1",
        }
    }
}

/// A number in a cell of a wide table.
struct Cell<'a> {
    symbol: &'a str,
    session: NaiveDate,
    value: f64,
}

/// Reads adjusted closes of the universe's names. An empty cell is before the
/// symbol's listing and no record.
pub(crate) fn read_wide_closes(
    feed: &Feed<'_>,
    universe: &Universe,
) -> Result<Rows<Bar>, LakeError> {
    let symbols = universe.names.iter().map(|name| name.symbol(feed.kind).to_owned()).collect();
    read(feed, Some(symbols), Cells::Closes, |head, cell| name_bar(feed, universe, head, cell))
}

fn name_bar(feed: &Feed<'_>, universe: &Universe, head: Head, cell: Cell<'_>) -> (Head, Bar) {
    let ticker = universe.names.iter().find(|name| name.symbol(feed.kind) == cell.symbol);
    let ticker = ticker.map(|name| name.ticker.to_string()).unwrap_or_default();
    let bar = Bar {
        session: cell.session,
        open: None,
        high: None,
        low: None,
        close: cell.value,
        volume: None,
        basis: PriceBasis::TotalReturnAdjusted,
    };
    (Head { record_id: format!("{ticker}-{}", cell.session), ticker, ..head }, bar)
}

/// Reads daily total returns of the universe's names as closes of an index that starts
/// at 100 before the first one.
pub(crate) fn read_wide_returns(
    feed: &Feed<'_>,
    universe: &Universe,
) -> Result<Rows<Bar>, LakeError> {
    let symbols = universe.names.iter().map(|name| name.symbol(feed.kind).to_owned()).collect();
    let mut found = read(feed, Some(symbols), Cells::Returns, |head, cell| {
        name_bar(feed, universe, head, cell)
    })?;
    // The table is in order of time, and so are the rows of each name.
    let mut levels = BTreeMap::<String, f64>::new();
    for (head, bar) in &mut found.rows {
        let level = levels.entry(head.ticker.clone()).or_insert(100.0);
        *level *= 1.0 + bar.close;
        bar.close = *level;
    }
    Ok(found)
}

/// Reads closes of the market index: every column of the table.
pub(crate) fn read_wide_index(feed: &Feed<'_>) -> Result<Rows<IndexBar>, LakeError> {
    read(feed, None, Cells::Closes, |head, cell| {
        (head, IndexBar { session: cell.session, close: cell.value })
    })
}

/// Reads the columns of these symbols, all where none are named.
fn read<R>(
    feed: &Feed<'_>,
    symbols: Option<Vec<String>>,
    cells: Cells,
    row: impl Fn(Head, Cell<'_>) -> (Head, R),
) -> Result<Rows<R>, LakeError> {
    let member = feed.source.member(feed.role, None)?;
    let bytes = feed.archive.read(&member)?;
    let mut csv = csv::Reader::from_reader(bytes.as_slice());
    let header = csv.headers().map_err(|e| feed.format(&member, e))?.clone();
    let wanted = wanted_columns(feed, symbols, &header, &member)?;
    let mut found = Rows { members: vec![member.clone()], ..Rows::default() };
    for (i, line) in csv.records().enumerate() {
        let place = format!("{member}:{}", i + 2);
        let line = match line {
            Ok(line) => line,
            Err(e) => {
                found.rejected.push(feed.reject(place, e.to_string(), ""));
                continue;
            }
        };
        let Some(session) = line.get(0).and_then(|d| d.parse::<NaiveDate>().ok()) else {
            let reason = "its date is not YYYY-MM-DD";
            found.rejected.push(feed.reject(place, reason, line.as_slice()));
            continue;
        };
        for &column in &wanted {
            let symbol = &header[column];
            let cell = line.get(column).unwrap_or_default();
            match cell.parse::<f64>() {
                Ok(value) if cells.admit(value) => {
                    let cell = Cell { symbol, session, value };
                    found.rows.push(row(head(feed, &member, symbol, session), cell));
                }
                _ if cell.is_empty() => {}
                _ => found.rejected.push(feed.reject(
                    format!("{place} {symbol}"),
                    cells.refusal(),
                    cell,
                )),
            }
        }
    }
    Ok(found)
}

fn wanted_columns(
    feed: &Feed<'_>,
    symbols: Option<Vec<String>>,
    header: &csv::StringRecord,
    member: &str,
) -> Result<Vec<usize>, LakeError> {
    if header.get(0) != Some("Date") {
        return Err(feed.format(member, "its first column is not Date"));
    }
    let Some(symbols) = symbols else {
        return Ok((1..header.len()).collect());
    };
    let find = |symbol: &String| {
        let position = header.iter().position(|h| h == symbol);
        position.ok_or_else(|| feed.format(member, format!("it has no column {symbol}")))
    };
    symbols.iter().map(find).collect()
}

fn head(feed: &Feed<'_>, member: &str, symbol: &str, session: NaiveDate) -> Head {
    let close = calendar::session_close(session);
    Head {
        record_id: format!("{symbol}-{session}"),
        ticker: String::new(),
        source_id: feed.source.id.clone(),
        source: feed.source.title(),
        url: feed.source.url(member),
        event_time: close,
        known_at: close,
    }
}
