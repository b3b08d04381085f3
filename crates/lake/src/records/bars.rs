//! Daily closes, one column per symbol: skfolio's data sets.

use chrono::NaiveDate;

use super::{Feed, Head, Kind, Parsed, table};
use crate::{LakeError, Universe, calendar};

struct Bar {
    session: NaiveDate,
    close: f64,
}

/// Reads closes of the universe's names, or of the index, from a table with
/// a `Date` column and one column per symbol. An empty cell is before the
/// symbol's listing and no record.
pub(crate) fn read_bars(feed: &Feed<'_>, universe: &Universe) -> Result<Parsed, LakeError> {
    let role = if feed.kind == Kind::Index { "index" } else { "bars" };
    let member = feed.source.member(role, None)?;
    let bytes = feed.archive.read(&member)?;
    let mut csv = csv::Reader::from_reader(bytes.as_slice());
    let header = csv.headers().map_err(|e| feed.format(&member, e))?.clone();
    let wanted = wanted_columns(feed, universe, &header, &member)?;
    let (mut rows, mut rejected) = (Vec::new(), Vec::new());
    for (i, line) in csv.records().enumerate() {
        let place = format!("{member}:{}", i + 2);
        let line = match line {
            Ok(line) => line,
            Err(e) => {
                rejected.push(feed.reject(place, e.to_string(), ""));
                continue;
            }
        };
        let Some(session) = line.get(0).and_then(|d| d.parse::<NaiveDate>().ok()) else {
            rejected.push(feed.reject(place, "its date is not YYYY-MM-DD", line.as_slice()));
            continue;
        };
        for &column in &wanted {
            let symbol = &header[column];
            let cell = line.get(column).unwrap_or_default();
            match cell.parse::<f64>() {
                Ok(close) if close.is_finite() && close > 0.0 => {
                    rows.push((head(feed, &member, symbol, session), Bar { session, close }));
                }
                _ if cell.is_empty() => {}
                _ => rejected.push(feed.reject(
                    format!("{place} {symbol}"),
                    "its close is not a positive number",
                    cell,
                )),
            }
        }
    }
    let price_basis = match feed.kind {
        Kind::Index => "price_index",
        _ => "total_return_adjusted",
    };
    table::finish(feed, vec![member], rows, rejected, |rows| {
        vec![
            ("session", table::dates(rows.iter().map(|(_, bar)| bar.session))),
            ("close", table::floats(rows.iter().map(|(_, bar)| bar.close))),
            ("price_basis", table::strings(rows.iter().map(|_| price_basis))),
        ]
    })
}

fn wanted_columns(
    feed: &Feed<'_>,
    universe: &Universe,
    header: &csv::StringRecord,
    member: &str,
) -> Result<Vec<usize>, LakeError> {
    if header.get(0) != Some("Date") {
        return Err(feed.format(member, "its first column is not Date"));
    }
    if feed.kind == Kind::Index {
        return Ok((1..header.len()).collect());
    }
    let find = |ticker: &str| {
        let position = header.iter().position(|h| h == ticker);
        position.ok_or_else(|| feed.format(member, format!("it has no column {ticker}")))
    };
    universe.names.iter().map(|name| find(name.ticker.as_str())).collect()
}

fn head(feed: &Feed<'_>, member: &str, symbol: &str, session: NaiveDate) -> Head {
    let close = calendar::session_close(session);
    Head {
        record_id: format!("{symbol}-{session}"),
        ticker: if feed.kind.has_ticker() { symbol.to_owned() } else { String::new() },
        source_id: feed.source.id.clone(),
        source: feed.source.title(),
        url: feed.source.url(member),
        event_time: close,
        known_at: close,
    }
}
