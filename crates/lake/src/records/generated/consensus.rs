//! What analysts of the [synthetic market] say: consensus of a year's results, each
//! quarter closer to them, and price targets of brokers.
//!
//! [synthetic market]: crate::synthetic

use chrono::NaiveDate;

use super::{Company, Generated, reports::SHARES};
use crate::{
    calendar,
    records::{Estimate, Feed, Head, Rows},
    synthetic::{Stream, normal},
};

/// Sessions between two price targets; the brokers take turns.
const TARGET_SESSIONS: usize = 20;
const BROKERS: [&str; 3] = ["Harbor Research", "Northgate Securities", "Elm Street Partners"];

impl Generated<'_> {
    pub(crate) fn estimates(&self, feed: &Feed<'_>) -> Rows<Estimate> {
        let mut rows = Vec::new();
        for company in &self.companies {
            rows.extend(self.consensus(feed, company));
            rows.extend(self.targets(feed, company));
        }
        Rows { rows, members: self.members(), ..Rows::default() }
    }

    /// Consensus of the year's earnings per share and revenue.
    fn consensus(&self, feed: &Feed<'_>, company: &Company<'_>) -> Vec<(Head, Estimate)> {
        let mut random = self.market.random(company.n, Stream::Estimates);
        let mut sales = self.market.random(company.n, Stream::SalesEstimates);
        let mut rows = Vec::new();
        for report in self.reports(company) {
            for (quarter, month) in [2, 5, 8, 11].into_iter().enumerate() {
                let noise = 0.12 - 0.025 * quarter as f64;
                let eps = report.income / SHARES * (1.0 + noise * normal(&mut random));
                let revenue = report.revenue * (1.0 + 0.3 * noise * normal(&mut sales));
                let Some(day) = NaiveDate::from_ymd_opt(report.year, month, 15) else {
                    continue;
                };
                let known = calendar::new_york_at(day, (18, 0));
                for (metric, mean, width) in
                    [("eps", eps, 0.1 * eps.abs() + 0.01), ("revenue", revenue, 0.03 * revenue)]
                {
                    let id = format!("{}-{metric}-{}-{quarter}", company.ticker, report.year);
                    let estimate = Estimate {
                        metric: metric.to_owned(),
                        period_end: Some(report.end),
                        broker: "consensus".to_owned(),
                        mean,
                        low: Some(mean - width),
                        high: Some(mean + width),
                        analysts: 12,
                    };
                    rows.push((self.head(feed, company.ticker, id, known, known), estimate));
                }
            }
        }
        rows
    }

    /// Price targets around a tenth above the price.
    fn targets(&self, feed: &Feed<'_>, company: &Company<'_>) -> Vec<(Head, Estimate)> {
        let mut random = self.market.random(company.n, Stream::Targets);
        let sessions = self.sessions.iter().zip(&company.walks.price).enumerate();
        let mut rows = Vec::new();
        for (t, (session, price)) in sessions.step_by(TARGET_SESSIONS) {
            let known = calendar::new_york_at(*session, (18, 0));
            let id = format!("{}-target-{t}", company.ticker);
            let estimate = Estimate {
                metric: "price_target".to_owned(),
                period_end: None,
                broker: BROKERS[t / TARGET_SESSIONS % BROKERS.len()].to_owned(),
                mean: price * (1.1 + 0.08 * normal(&mut random)).max(0.5),
                low: None,
                high: None,
                analysts: 1,
            };
            rows.push((self.head(feed, company.ticker, id, known, known), estimate));
        }
        rows
    }
}
