//! The synthetic market: random walks whose signal is known, and the records of all
//! kinds that such a market would leave, for demonstrations and tests.
//!
//! Per ticker and business day t, with independent standard normal draws:
//!
//! ```text
//! quality  q += 0.02 n   sentiment s += 0.03 n   momentum m += 0.02 n   insider i += 0.015 n
//! eps(t) = 0.01 n
//! r(t) = g (0.1 q + 0.07 s + 0.08 m + 0.06 i) + 0.6 eps(t-1) + eps(t)
//! P(t) = 100 exp(0.02 sum of r)
//! ```
//!
//! The signal strength g is 1 as defined and 0 for a market without signal. Draws come
//! from ChaCha20 keyed by seed, with a stream for each ticker and walk, by Box and
//! Muller's transform; so a ticker's walks do not depend on the others.

use std::f64::consts::TAU;

use chrono::{Datelike, NaiveDate, Weekday};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

/// What a stream of draws is for. A ticker has 16 of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Quality,
    Sentiment,
    Momentum,
    InsiderWalk,
    Epsilon,
    Bars,
    Macro,
    News,
    Insider,
    Estimates,
    SalesEstimates,
    Targets,
    Yields,
    Output,
}

/// What makes a market.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Market {
    /// Seed of all draws.
    pub seed: u64,
    /// Signal strength, 0 for none.
    pub signal: f64,
    /// Business days.
    pub days: usize,
    /// The first day; the next business day where it is none.
    pub first: NaiveDate,
}

impl Default for Market {
    fn default() -> Self {
        let first = NaiveDate::from_ymd_opt(2022, 1, 3).unwrap_or_default();
        Self { seed: 42, signal: 1.0, days: 600, first }
    }
}

/// One ticker's walks, a value for each business day.
#[derive(Debug, Clone, PartialEq)]
pub struct Walks {
    /// Quality, the level that fundamentals tell.
    pub quality: Vec<f64>,
    /// Sentiment, the level that news tell.
    pub sentiment: Vec<f64>,
    /// Momentum.
    pub momentum: Vec<f64>,
    /// Insider activity, the level that Form 4 filings tell.
    pub insider: Vec<f64>,
    /// Price.
    pub price: Vec<f64>,
}

impl Market {
    /// Returns the business days: Monday to Friday, holidays included as in the definition.
    #[must_use]
    pub fn sessions(&self) -> Vec<NaiveDate> {
        let days = self.first.iter_days();
        let is_business = |day: &NaiveDate| !matches!(day.weekday(), Weekday::Sat | Weekday::Sun);
        days.filter(is_business).take(self.days).collect()
    }

    /// Returns the walks of the `n`-th ticker.
    #[must_use]
    pub fn walks(&self, n: usize) -> Walks {
        let sums = |stream: Stream, scale: f64| -> Vec<f64> {
            let mut level = 0.0;
            self.draws(n, stream, scale)
                .map(|draw| {
                    level += draw;
                    level
                })
                .collect()
        };
        let (quality, sentiment) = (sums(Stream::Quality, 0.02), sums(Stream::Sentiment, 0.03));
        let (momentum, insider) = (sums(Stream::Momentum, 0.02), sums(Stream::InsiderWalk, 0.015));
        let eps: Vec<f64> = self.draws(n, Stream::Epsilon, 0.01).collect();
        let mut total = 0.0;
        let price = (0..self.days).map(|t| {
            let signal =
                0.1 * quality[t] + 0.07 * sentiment[t] + 0.08 * momentum[t] + 0.06 * insider[t];
            let before = t.checked_sub(1).map_or(0.0, |before| eps[before]);
            total += self.signal * signal + 0.6 * before + eps[t];
            100.0 * (0.02 * total).exp()
        });
        let price = price.collect();
        Walks { quality, sentiment, momentum, insider, price }
    }

    /// Returns the steps of one walk.
    fn draws(&self, n: usize, stream: Stream, scale: f64) -> impl Iterator<Item = f64> + use<> {
        let mut random = self.random(n, stream);
        (0..self.days).map(move |_| scale * normal(&mut random))
    }

    /// Returns the generator of a stream of the `n`-th ticker.
    pub(crate) fn random(&self, n: usize, stream: Stream) -> ChaCha20Rng {
        let mut random = ChaCha20Rng::seed_from_u64(self.seed);
        random.set_stream((n * 16 + stream as usize) as u64);
        random
    }
}

/// A standard normal draw of two uniform ones, by Box and Muller (1958); the second of
/// each pair is not used, so that a draw takes a fixed part of the stream.
pub(crate) fn normal(random: &mut ChaCha20Rng) -> f64 {
    let (a, b) = (uniform(random), uniform(random));
    (-2.0 * a.ln()).sqrt() * (TAU * b).cos()
}

/// A draw above 0 and up to 1, of 53 bits: its logarithm is finite.
pub(crate) fn uniform(random: &mut ChaCha20Rng) -> f64 {
    ((random.next_u64() >> 11) as f64 + 1.0) / 9_007_199_254_740_992.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_are_those_of_the_definition() {
        let market = Market::default();
        let walks = market.walks(3);
        assert_eq!(market.sessions().len(), 600);
        // The price undone: what is left after the signal is an MA(1) of small draws.
        let log: Vec<f64> = walks.price.iter().map(|price| (price / 100.0).ln() / 0.02).collect();
        let step = |t: usize| log[t] - if t == 0 { 0.0 } else { log[t - 1] };
        let signal = |t: usize| {
            0.1 * walks.quality[t]
                + 0.07 * walks.sentiment[t]
                + 0.08 * walks.momentum[t]
                + 0.06 * walks.insider[t]
        };
        let mut eps = 0.0;
        let mut squares = 0.0;
        for t in 0..600 {
            eps = step(t) - signal(t) - 0.6 * eps;
            squares += eps * eps;
        }
        let deviation = (squares / 600.0).sqrt();
        assert!((deviation - 0.01).abs() < 0.001, "{deviation}");
        let steps: f64 = walks.quality.windows(2).map(|w| (w[1] - w[0]).powi(2)).sum();
        assert!(((steps / 599.0).sqrt() - 0.02).abs() < 0.002);
    }

    #[test]
    fn more_tickers_days_or_no_signal_change_no_walk() {
        let market = Market::default();
        let (walks, longer) = (market.walks(1), Market { days: 900, ..market }.walks(1));
        assert_eq!(walks.price[..], longer.price[..600]);
        let none = Market { signal: 0.0, ..market }.walks(1);
        assert_eq!(none.sentiment, walks.sentiment);
        assert_ne!(none.price, walks.price);
        assert_ne!(Market { seed: 43, ..market }.walks(1).price, walks.price);
    }
}
