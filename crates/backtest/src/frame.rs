//! What a strategy sees: the market up to the close of one session.

use chrono::NaiveDate;
use domain::Ticker;

use crate::Market;

/// The market as of the close of a session. It is the only way to prices for a strategy,
/// and it has no way past its session: its constructor and its fields are private, and
/// sessions are counted backwards, by numbers that have no sign.
///
/// A strategy may look as far back as there are sessions:
///
/// ```
/// use backtest::{Choice, Frame, Strategy};
///
/// struct Yesterday;
///
/// impl Strategy for Yesterday {
///     fn name(&self) -> String {
///         "yesterday".to_owned()
///     }
///     fn decide(&mut self, frame: &Frame<'_>, weights: &mut [f64]) -> Choice {
///         weights[0] = frame.close(0, 1).unwrap_or(0.0);
///         Choice::Rebalance
///     }
/// }
/// ```
///
/// With `-1` it would not compile: the files under `tests/backtest/look_ahead/` try that and
/// other ways ahead.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'m> {
    market: &'m Market,
    row: usize,
}

impl<'m> Frame<'m> {
    pub(crate) const fn new(market: &'m Market, row: usize) -> Self {
        Self { market, row }
    }

    /// Returns the session.
    #[must_use]
    pub fn session(&self) -> NaiveDate {
        self.market.sessions()[self.row]
    }

    /// Returns the number of names.
    #[must_use]
    pub fn width(&self) -> usize {
        self.market.width()
    }

    /// Returns the ticker of a name, its position in the order of tickers.
    #[must_use]
    pub fn ticker(&self, name: usize) -> Option<&'m Ticker> {
        self.market.names().get(name).map(|name| &name.ticker)
    }

    /// Returns the number of sessions there are, this one included.
    #[must_use]
    pub const fn sessions(&self) -> usize {
        self.row + 1
    }

    /// Returns the last adjusted close of a name, `lag` sessions ago: prices without splits
    /// and dividends, of which only ratios within a name mean anything.
    #[must_use]
    pub fn close(&self, name: usize, lag: usize) -> Option<f64> {
        let row = self.row.checked_sub(lag)?;
        self.market.adjusted(row).get(name).copied().filter(|close| *close > 0.0)
    }

    /// Returns the last adjusted closes of all names, `lag` sessions ago; 0 for a name before its
    /// first.
    #[must_use]
    pub fn closes(&self, lag: usize) -> Option<&'m [f64]> {
        Some(self.market.adjusted(self.row.checked_sub(lag)?))
    }

    /// Returns the return of a name from `from` sessions ago to `to` sessions ago.
    #[must_use]
    pub fn simple_return(&self, name: usize, from: usize, to: usize) -> Option<f64> {
        Some(self.close(name, to)? / self.close(name, from)? - 1.0)
    }

    /// Tells whether a name can be traded: it has a close on this session.
    #[must_use]
    pub fn is_listed(&self, name: usize) -> bool {
        name < self.width() && self.market.has_session(self.row, name)
    }

    /// Returns the annualised sample standard deviation of the last `window` daily returns of
    /// the portfolio that holds all listed names in equal weights.
    #[must_use]
    pub fn market_volatility(&self, window: usize) -> Option<f64> {
        if window < 2 || self.row < window {
            return None;
        }
        let (mut sum, mut squares) = (0.0, 0.0);
        let returns: Vec<f64> =
            (self.row + 1 - window..=self.row).map(|row| self.mean_return(row)).collect();
        returns.iter().for_each(|value| sum += value);
        let mean = sum / window as f64;
        returns.iter().for_each(|value| squares += (value - mean) * (value - mean));
        Some((squares / (window - 1) as f64 * crate::metrics::DAYS_PER_YEAR).sqrt())
    }

    fn mean_return(&self, row: usize) -> f64 {
        let (before, now) = (self.market.adjusted(row - 1), self.market.adjusted(row));
        let (mut sum, mut count) = (0.0, 0_usize);
        for (name, (before, now)) in before.iter().zip(now).enumerate() {
            if *before > 0.0 && self.market.has_session(row, name) {
                sum += now / before - 1.0;
                count += 1;
            }
        }
        sum / count.max(1) as f64
    }
}
