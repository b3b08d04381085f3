//! When EDGAR accepts, dates and shows filings.
//!
//! EDGAR takes filings from 6:00 to 22:00 New York time on business days of the
//! federal government. What it accepts after 17:30 gets the date of the next business
//! day and is shown that morning; reports of insiders keep the day until 22:00.

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, Utc, Weekday};
use chrono_tz::America::New_York;

use super::{EDGAR_END, new_york, new_york_at};

const EDGAR_START: (u32, u32) = (6, 0);
/// Last time of day, of most forms, that still gets the day's date.
const DAY_END: (u32, u32) = (17, 30);
/// What was sent before 22:00 may be stamped a little later.
const HOURS: [(u32, u32); 2] = [EDGAR_START, (22, 30)];
/// Years whose federal holidays include Juneteenth.
const JUNETEENTH_SINCE: i32 = 2022;

/// Returns when a filing was accepted, given the label of an `acceptanceDateTime`.
///
/// Older captures of EDGAR's data label New York time as UTC, newer ones are UTC, and
/// neither says which. Of the two readings the one counts that explains the filing
/// date; where both or none do, the later one, New York, so that nothing is known too
/// early.
pub(crate) fn accepted_at(label: NaiveDateTime, filed: NaiveDate, form: &str) -> DateTime<Utc> {
    let (as_utc, as_local) = (label.and_utc(), new_york(label));
    let explains = |instant: DateTime<Utc>| {
        explains(instant.with_timezone(&New_York).naive_local(), filed, form)
    };
    if explains(as_utc) && !explains(as_local) { as_utc } else { as_local }
}

/// Returns when a filing that was accepted at an instant is shown: a filing of the
/// evening on the morning of its date.
pub(crate) fn accepted_known(accepted: DateTime<Utc>, filed: NaiveDate) -> DateTime<Utc> {
    accepted.max(new_york_at(filed, EDGAR_START))
}

/// Tells whether a filing accepted at a local time would get a date.
fn explains(local: NaiveDateTime, filed: NaiveDate, form: &str) -> bool {
    let (date, time) = (local.date(), local.time());
    let [first, last] = HOURS.map(time_of);
    if time < first || time > last {
        return false;
    }
    if date == filed {
        return keeps_day(form) || time <= time_of(DAY_END);
    }
    let is_late = time > time_of(if keeps_day(form) { EDGAR_END } else { DAY_END });
    is_late && is_business_day(date) && next_business_day(date) == filed
}

/// Reports of insiders and large holders get the day's date until 22:00.
fn keeps_day(form: &str) -> bool {
    let form = form.strip_suffix("/A").unwrap_or(form);
    matches!(form, "3" | "4" | "5" | "144")
        || form.starts_with("SC 13")
        || form.starts_with("SCHEDULE 13")
}

fn time_of((hour, minute): (u32, u32)) -> NaiveTime {
    NaiveTime::from_hms_opt(hour, minute, 0).unwrap_or(NaiveTime::MIN)
}

fn next_business_day(date: NaiveDate) -> NaiveDate {
    let mut next = date + Days::new(1);
    while !is_business_day(next) {
        next = next + Days::new(1);
    }
    next
}

/// Tells whether federal offices work. The exchange differs: it works on Columbus
/// and Veterans Day and rests on Good Friday.
fn is_business_day(date: NaiveDate) -> bool {
    !matches!(date.weekday(), Weekday::Sat | Weekday::Sun) && !is_federal_holiday(date)
}

fn is_federal_holiday(date: NaiveDate) -> bool {
    let (year, month, day) = (date.year(), date.month(), date.day());
    let nth = (day - 1) / 7 + 1;
    let is_last = date.checked_add_days(Days::new(7)).is_none_or(|next| next.month() != month);
    let by_weekday = match (month, date.weekday()) {
        (1 | 2, Weekday::Mon) => nth == 3,
        (5, Weekday::Mon) => is_last,
        (9, Weekday::Mon) => nth == 1,
        (10, Weekday::Mon) => nth == 2,
        (11, Weekday::Thu) => nth == 4,
        _ => false,
    };
    // A holiday on Saturday is kept on Friday, one on Sunday on Monday.
    let kept = |month, day, year| {
        let holiday = NaiveDate::from_ymd_opt(year, month, day);
        holiday.is_some_and(|holiday| match holiday.weekday() {
            Weekday::Sat => holiday.pred_opt() == Some(date),
            Weekday::Sun => holiday.succ_opt() == Some(date),
            _ => holiday == date,
        })
    };
    by_weekday
        || kept(1, 1, year)
        || kept(1, 1, year + 1)
        || (year >= JUNETEENTH_SINCE && kept(6, 19, year))
        || kept(7, 4, year)
        || kept(11, 11, year)
        || kept(12, 25, year)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn knows_the_days_federal_offices_rest() {
        for (from, to) in [
            ("2022-10-07", "2022-10-11"), // Columbus Day
            ("2022-04-14", "2022-04-15"), // Good Friday is a business day
            ("2022-11-10", "2022-11-14"), // Veterans Day on a Friday
            ("2022-12-23", "2022-12-27"), // Christmas on a Sunday
            ("2021-12-30", "2022-01-03"), // New Year on a Saturday
            ("2021-06-17", "2021-06-18"), // before Juneteenth
            ("2022-06-17", "2022-06-21"),
            ("2020-07-02", "2020-07-06"),
            ("2022-05-27", "2022-05-31"),
            ("2022-11-23", "2022-11-25"),
            ("2022-01-14", "2022-01-18"),
        ] {
            assert_eq!(next_business_day(date(from)), date(to), "{from}");
        }
    }

    #[test]
    fn tells_new_york_labels_from_utc_by_the_filing_date() {
        for (label, filed, form, accepted) in [
            // Friday evening in New York, labelled Z: read as UTC it would be 15:11
            // and get the Friday's date.
            ("2022-02-04T20:11:27", "2022-02-07", "10-K", "2022-02-05T01:11:27Z"),
            // The same filing as newer captures label it: 01:11 is outside the hours.
            ("2022-02-05T01:11:27", "2022-02-07", "10-K", "2022-02-05T01:11:27Z"),
            // 16:30 in New York; as a New York label it would get the next date.
            ("2022-10-27T20:30:00", "2022-10-27", "8-K", "2022-10-27T20:30:00Z"),
            // A report of an insider keeps the day: both readings explain it.
            ("2022-10-27T20:30:00", "2022-10-27", "4", "2022-10-28T00:30:00Z"),
            ("2022-10-27T23:10:00", "2022-10-27", "4/A", "2022-10-27T23:10:00Z"),
            // Both readings are in the day: the later one.
            ("2022-10-27T14:00:00", "2022-10-27", "8-K", "2022-10-27T18:00:00Z"),
            // None is: the later one.
            ("2022-10-27T14:00:00", "2022-12-01", "8-K", "2022-10-27T18:00:00Z"),
            // The evening before a holiday of federal offices.
            ("2022-10-07T21:45:00", "2022-10-11", "8-K", "2022-10-08T01:45:00Z"),
        ] {
            let found = accepted_at(label.parse().unwrap(), date(filed), form);
            assert_eq!(found, accepted.parse::<DateTime<Utc>>().unwrap(), "{label} {filed} {form}");
        }
    }

    #[test]
    fn a_filing_of_the_evening_is_known_on_its_morning() {
        let accepted = "2022-02-05T01:11:27Z".parse().unwrap();
        let known = accepted_known(accepted, date("2022-02-07"));
        assert_eq!(known, "2022-02-07T11:00:00Z".parse::<DateTime<Utc>>().unwrap());
        let at_noon = "2022-02-07T17:00:00Z".parse().unwrap();
        assert_eq!(accepted_known(at_noon, date("2022-02-07")), at_noon);
    }

    proptest! {
        #[test]
        fn is_one_of_the_two_readings(seconds in 946_684_800i64..2_000_000_000, days in 0u64..5) {
            let label = DateTime::from_timestamp(seconds, 0).unwrap().naive_utc();
            let filed = label.date() + Days::new(days);
            let found = accepted_at(label, filed, "10-Q");
            prop_assert!(found == label.and_utc() || found == new_york(label));
            prop_assert!(accepted_known(found, filed) >= found);
        }
    }
}
