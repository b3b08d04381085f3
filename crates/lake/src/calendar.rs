//! New York wall-clock times as UTC instants. Where a wall-clock time is
//! ambiguous the later instant is taken, so that nothing is known too early.

mod edgar;

use chrono::{
    DateTime, Days, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc,
};
use chrono_tz::{America::New_York, Tz};

pub(crate) use self::edgar::{accepted_at, accepted_known};

/// The close of a regular session. Half days close earlier: later is conservative.
const CLOSE: (u32, u32) = (16, 0);
/// The open of a session.
const OPEN: (u32, u32) = (9, 30);
/// EDGAR accepts until 22:00, which is after midnight UTC: the next date.
const EDGAR_END: (u32, u32) = (22, 0);

/// Converts wall-clock time of a zone to UTC; none where the zone has no such time.
pub(crate) fn in_zone(zone: Tz, local: NaiveDateTime) -> Option<DateTime<Utc>> {
    // The hour skipped in spring does not exist; people who wrote it meant one hour on.
    let found = zone
        .from_local_datetime(&local)
        .latest()
        .or_else(|| zone.from_local_datetime(&(local + TimeDelta::hours(1))).latest());
    found.map(|time| time.with_timezone(&Utc))
}

/// Converts New York wall-clock time to UTC.
pub(crate) fn new_york(local: NaiveDateTime) -> DateTime<Utc> {
    in_zone(New_York, local).unwrap_or_else(|| local.and_utc() + TimeDelta::hours(5))
}

/// Returns the instant of a New York time of day on `date`.
pub(crate) fn new_york_at(date: NaiveDate, (hour, minute): (u32, u32)) -> DateTime<Utc> {
    let time = NaiveTime::from_hms_opt(hour, minute, 0).unwrap_or(NaiveTime::MIN);
    new_york(date.and_time(time))
}

/// Returns the date in New York at an instant.
pub(crate) fn new_york_date(instant: DateTime<Utc>) -> NaiveDate {
    instant.with_timezone(&New_York).date_naive()
}

/// Returns when the close of a session is known.
pub(crate) fn session_close(session: NaiveDate) -> DateTime<Utc> {
    new_york_at(session, CLOSE)
}

/// Returns when a session opens.
pub(crate) fn session_open(session: NaiveDate) -> DateTime<Utc> {
    new_york_at(session, OPEN)
}

/// Returns when a document filed on `filed` is known at the latest.
pub(crate) fn filing_known(filed: NaiveDate) -> DateTime<Utc> {
    new_york_at(filed, EDGAR_END)
}

/// Returns midnight UTC of a date: the event time of what has a date only.
pub(crate) fn midnight(date: NaiveDate) -> DateTime<Utc> {
    date.and_time(NaiveTime::MIN).and_utc()
}

/// Returns the last day of the month of `date`.
pub(crate) fn month_end(date: NaiveDate) -> Option<NaiveDate> {
    use chrono::Datelike;
    date.with_day(1)?.checked_add_months(Months::new(1))?.checked_sub_days(Days::new(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn follows_new_york_summer_time() {
        let date = |text: &str| text.parse::<NaiveDate>().unwrap();
        assert_eq!(session_close(date("2022-09-30")), utc("2022-09-30T20:00:00Z"));
        assert_eq!(session_close(date("2022-12-01")), utc("2022-12-01T21:00:00Z"));
        assert_eq!(filing_known(date("2021-10-29")), utc("2021-10-30T02:00:00Z"));
        assert_eq!(month_end(date("2020-02-01")), Some(date("2020-02-29")));
        let local = |text: &str| new_york(text.parse().unwrap());
        // 01:30 happened twice, 02:30 never.
        assert_eq!(local("2022-11-06T01:30:00"), utc("2022-11-06T06:30:00Z"));
        assert_eq!(local("2022-03-13T02:30:00"), utc("2022-03-13T07:30:00Z"));
    }
}
