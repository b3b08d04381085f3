//! The economy around the [synthetic market]: a volatility index, oil, yields, and
//! output in vintages.
//!
//! [synthetic market]: crate::synthetic

use chrono::{DateTime, Datelike, Days, NaiveDate, Utc};

use super::Generated;
use crate::{
    calendar,
    records::{Feed, Head, Observation, Rows},
    synthetic::{Stream, normal},
};

type Series = Vec<(Head, Observation)>;

/// Days after a quarter's end at which its output is stated: first, second and third
/// estimate.
const VINTAGE_LAG_DAYS: [u64; 3] = [30, 60, 90];

impl Generated<'_> {
    /// The series that features ask for, by their names at FRED where they have one there.
    pub(crate) fn macros(&self, feed: &Feed<'_>) -> Rows<Observation> {
        let mut rows = self.daily(feed);
        rows.extend(self.yields(feed));
        rows.extend(self.output(feed));
        Rows { rows, members: self.members(), ..Rows::default() }
    }

    fn observation(
        &self,
        feed: &Feed<'_>,
        series: &str,
        day: NaiveDate,
        value: f64,
        known: DateTime<Utc>,
    ) -> (Head, Observation) {
        let id = format!("{series}-{day}");
        let head = self.head(feed, "", id, calendar::midnight(day), known);
        (head, Observation { series: series.to_owned(), period_end: day, value })
    }

    /// A volatility index and the price of oil by day, two bond yields by month.
    fn daily(&self, feed: &Feed<'_>) -> Series {
        let mut random = self.market.random(0, Stream::Macro);
        let (mut oil, mut spread, mut rows) = (70.0_f64, 1.0_f64, Vec::new());
        let mut push = |series: &str, day: NaiveDate, value: f64, known: DateTime<Utc>| {
            rows.push(self.observation(feed, series, day, value, known));
        };
        for (t, session) in self.sessions.iter().enumerate() {
            let window = t.saturating_sub(20)..t;
            let moves: Vec<f64> =
                window.map(|i| (self.level(i + 1) / self.level(i)).ln()).collect();
            let square = moves.iter().map(|r| r * r).sum::<f64>() / moves.len().max(1) as f64;
            let vix = 10.0 + 100.0 * (252.0 * square).sqrt();
            push("VIX", *session, vix, calendar::new_york_at(*session, (16, 15)));
            oil *= (0.02 * normal(&mut random)).exp();
            let published = *session + Days::new(8);
            push("WTI", *session, oil, calendar::new_york_at(published, (22, 0)));
            spread = (spread + 0.01 * normal(&mut random)).clamp(0.3, 3.0);
            let is_month_end =
                session.succ_opt().is_some_and(|next| next.month() != session.month());
            if is_month_end {
                let known = calendar::new_york_at(*session + Days::new(7), (22, 0));
                push("AAA", *session, 4.5, known);
                push("BAA", *session, 4.5 + spread, known);
            }
        }
        rows
    }

    /// Treasury yields of two maturities by day, published on the next.
    fn yields(&self, feed: &Feed<'_>) -> Series {
        let mut random = self.market.random(0, Stream::Yields);
        let (mut ten, mut two, mut rows) = (4.0_f64, 3.5_f64, Vec::new());
        for session in &self.sessions {
            ten = (ten + 0.03 * normal(&mut random)).max(0.1);
            two = (two + 0.04 * normal(&mut random)).max(0.1);
            let known = calendar::new_york_at(*session + Days::new(1), (22, 0));
            rows.push(self.observation(feed, "DGS10", *session, ten, known));
            rows.push(self.observation(feed, "DGS2", *session, two, known));
        }
        rows
    }

    /// Output of each quarter in three vintages, from six quarters before the market
    /// opens, so that growth is defined from its first day.
    fn output(&self, feed: &Feed<'_>) -> Series {
        let (Some(first), Some(last)) = (self.sessions.first(), self.sessions.last()) else {
            return Vec::new();
        };
        let mut random = self.market.random(0, Stream::Output);
        let (mut level, mut rows) = (25_000.0_f64, Vec::new());
        let years = first.year() - 2..=last.year();
        let ends = years.flat_map(|year| {
            [(3, 31), (6, 30), (9, 30), (12, 31)]
                .into_iter()
                .filter_map(move |(month, day)| NaiveDate::from_ymd_opt(year, month, day))
        });
        for end in ends {
            level *= 1.01 + 0.005 * normal(&mut random);
            let mut stated = level * (1.0 + 0.004 * normal(&mut random));
            for (vintage, lag) in VINTAGE_LAG_DAYS.into_iter().enumerate() {
                let known = calendar::new_york_at(end + Days::new(lag), (8, 30));
                let (mut head, seen) = self.observation(feed, "GDP", end, stated, known);
                head.record_id = format!("{}-{vintage}", head.record_id);
                rows.push((head, seen));
                stated += 0.6 * (level - stated);
            }
        }
        rows
    }
}
