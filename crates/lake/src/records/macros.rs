//! Macro series in FRED's table form: a date column, one column per series,
//! `.` for no observation.

use chrono::{Days, NaiveDate, NaiveTime, Timelike};

use super::{Feed, Head, Observation, Rows};
use crate::{
    LakeError, Universe, calendar,
    universe::{MacroSeries, Period},
};

/// Reads all macro series of the universe that `feed`'s source has.
pub(crate) fn read_macros(
    feed: &Feed<'_>,
    universe: &Universe,
) -> Result<Rows<Observation>, LakeError> {
    let mut found = Rows::default();
    for series in universe.macro_series.iter().filter(|s| s.source == feed.source.id) {
        let member = feed.source.member(&series.member, None)?;
        read_series(feed, series, &member, &mut found)?;
        found.members.push(member);
    }
    found.members.sort();
    found.members.dedup();
    Ok(found)
}

fn read_series(
    feed: &Feed<'_>,
    series: &MacroSeries,
    member: &str,
    found: &mut Rows<Observation>,
) -> Result<(), LakeError> {
    let known_time = NaiveTime::parse_from_str(&series.known_time, "%H:%M").map_err(|_| {
        let reason = format!("macro {}: known_time must be HH:MM", series.series);
        LakeError::Config { origin: "universe".into(), reason }
    })?;
    let bytes = feed.archive.read(member)?;
    let mut csv = csv::Reader::from_reader(bytes.as_slice());
    let header = csv.headers().map_err(|e| feed.format(member, e))?;
    let Some(column) = header.iter().position(|h| h == series.column) else {
        return Err(feed.format(member, format!("it has no column {}", series.column)));
    };
    for (i, line) in csv.records().enumerate() {
        let place = format!("{member}:{}", i + 2);
        let line = line.map_err(|e| feed.format(member, e))?;
        match observation(series, &line, column) {
            Ok(seen) => found.rows.push((head(feed, series, member, known_time, &seen), seen)),
            Err(reason) => found.rejected.push(feed.reject(place, reason, line.as_slice())),
        }
    }
    Ok(())
}

fn observation(
    series: &MacroSeries,
    line: &csv::StringRecord,
    column: usize,
) -> Result<Observation, &'static str> {
    let date = line.get(0).unwrap_or_default();
    let date =
        NaiveDate::parse_from_str(date, "%m/%d/%Y").map_err(|_| "its date is not M/D/YYYY")?;
    let period_end = match series.period {
        Period::Day => Some(date),
        Period::Month => calendar::month_end(date),
    };
    let period_end = period_end.ok_or("its month has no end")?;
    let cell = line.get(column).unwrap_or_default();
    if cell == "." {
        return Err("no observation (.)");
    }
    let value = cell.parse::<f64>().ok().filter(|v| v.is_finite());
    let value = value.ok_or("its value is not a number")?;
    Ok(Observation { series: series.series.clone(), period_end, value })
}

fn head(
    feed: &Feed<'_>,
    series: &MacroSeries,
    member: &str,
    known_time: NaiveTime,
    seen: &Observation,
) -> Head {
    let published = seen.period_end + Days::new(series.lag_days.into());
    Head {
        record_id: format!("{}-{}", series.series, seen.period_end),
        ticker: String::new(),
        source_id: feed.source.id.clone(),
        source: format!("{}, {}", series.title, feed.source.title()),
        url: feed.source.url(member),
        event_time: calendar::midnight(seen.period_end),
        known_at: calendar::new_york_at(published, (known_time.hour(), known_time.minute())),
    }
}
