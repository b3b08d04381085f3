//! What a run leaves: equity, the books of each day, trades and positions.

use std::ops::Range;

use chrono::NaiveDate;
use domain::{Digest, Ticker};
use serde::Serialize;

use crate::{
    Config, Coverage, FillCosts, Market, Strategy,
    metrics::{Weights, capacity},
};

/// Share of its average daily traded value that capacity grants a position, where the
/// limits say nothing.
pub const CAPACITY_SHARE: f64 = 0.05;

/// How much of a run is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Equity alone, as sweeps need.
    Equity,
    /// The books of each day, trades and positions too.
    Full,
}

/// Why shares changed hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TradeKind {
    /// A decision, or what is left of it.
    Rebalance,
    /// The end of the span.
    Liquidation,
    /// The name left the exchange.
    Delisting,
}

/// Shares that changed hands.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Trade {
    /// Position of the session in the run.
    pub session: usize,
    /// Position of the name in the run's tickers.
    pub name: usize,
    /// Shares, negative where they were sold.
    pub shares: f64,
    /// Price.
    pub price: f64,
    /// Costs.
    pub costs: FillCosts,
    /// Why.
    pub kind: TradeKind,
}

impl Trade {
    /// Returns the traded value, without a sign.
    #[must_use]
    pub const fn value(&self) -> f64 {
        self.shares.abs() * self.price
    }
}

/// The books of a session, in the currency of prices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Day {
    /// Cash at the end.
    pub cash: f64,
    /// Value of long positions at the end.
    pub long: f64,
    /// Value of short positions at the end, without a sign.
    pub short: f64,
    /// Value traded, bought and sold added.
    pub traded: f64,
    /// Costs of trading.
    pub costs: FillCosts,
    /// Fee on short positions.
    pub borrow: f64,
    /// Interest received; paid where it is negative.
    pub interest: f64,
    /// Dividends received; paid where it is negative.
    pub dividends: f64,
}

impl Day {
    pub(crate) const fn add(&mut self, value: f64, costs: &FillCosts) {
        self.traded += value;
        self.costs.commission += costs.commission;
        self.costs.spread += costs.spread;
        self.costs.impact += costs.impact;
    }

    /// Returns cash and the value of positions.
    #[must_use]
    pub const fn equity(&self) -> f64 {
        self.cash + self.long - self.short
    }
}

/// A position at the close of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct Position<'b> {
    /// Session.
    pub session: NaiveDate,
    /// Ticker.
    pub ticker: &'b Ticker,
    /// Shares, negative for short.
    pub shares: f64,
    /// Share of equity, negative for short; none where there is no equity.
    pub weight: Option<f64>,
}

/// Where a result is from: the same three give the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Provenance {
    /// Strategy, with its parameters.
    pub strategy: String,
    /// Universe.
    pub universe: String,
    /// Snapshot; none for a market made by hand.
    pub snapshot: Option<Digest>,
    /// What the choice of names does to results.
    pub bias: String,
    /// Span, costs, limits and seed.
    pub config: Config,
    /// Version of this crate.
    pub version: String,
}

/// A finished run.
#[derive(Debug, Clone, PartialEq)]
pub struct Backtest {
    /// Where it is from.
    pub provenance: Provenance,
    /// How much of what it was asked the strategy had an opinion of.
    pub coverage: Option<Coverage>,
    /// Sessions of the span.
    pub sessions: Vec<NaiveDate>,
    /// Names, in order.
    pub tickers: Vec<Ticker>,
    /// Equity at the close of each session, the capital being 1.
    pub equity: Vec<f64>,
    /// Return of each session. That of the first is against the capital.
    pub returns: Vec<f64>,
    /// The books of each session; empty without [`Detail::Full`].
    pub days: Vec<Day>,
    /// Trades, in order of session and name; empty without [`Detail::Full`].
    pub trades: Vec<Trade>,
    /// Capacity at each decision in the currency of prices; empty without volumes.
    pub capacity: Vec<f64>,
    /// Shares of each session and name; empty without [`Detail::Full`].
    shares: Vec<f64>,
    /// Weights of each session and name; empty without [`Detail::Full`].
    weights: Vec<f64>,
}

impl Backtest {
    /// Returns the positions that are not empty, in order of session and name.
    pub fn positions(&self) -> impl Iterator<Item = Position<'_>> {
        let width = self.tickers.len().max(1);
        let weights = self.weights.iter().map(|weight| weight.is_finite().then_some(*weight));
        let rows = self.shares.iter().zip(weights).enumerate();
        rows.filter(|(_, (shares, _))| **shares != 0.0).map(move |(at, (shares, weight))| {
            let (session, ticker) = (self.sessions[at / width], &self.tickers[at % width]);
            Position { session, ticker, shares: *shares, weight }
        })
    }

    /// Returns the weights of names at the close of each session; none without
    /// [`Detail::Full`], and after ruin.
    #[must_use]
    pub fn weights(&self) -> Option<Weights<'_>> {
        Weights::new(self.tickers.len(), &self.weights).filter(|weights| weights.days().len() > 0)
    }

    /// Returns whether something was held over the night before each session.
    #[must_use]
    pub fn was_invested(&self) -> Vec<bool> {
        let invested = self.days.iter().map(|day| day.long + day.short > 0.0);
        std::iter::once(false).chain(invested).take(self.days.len()).collect()
    }

    /// Returns the sum of the books of all sessions; cash and positions are those of the
    /// last.
    #[must_use]
    pub fn totals(&self) -> Day {
        let mut all = Day::default();
        for day in &self.days {
            all.add(day.traded, &day.costs);
            all.borrow += day.borrow;
            all.interest += day.interest;
            all.dividends += day.dividends;
            (all.cash, all.long, all.short) = (day.cash, day.long, day.short);
        }
        all
    }
}

/// What is written down while a run goes on.
pub(crate) struct Log {
    detail: Detail,
    rows: Range<usize>,
    equity: Vec<f64>,
    days: Vec<Day>,
    trades: Vec<Trade>,
    shares: Vec<f64>,
    weights: Vec<f64>,
    capacity: Vec<f64>,
}

impl Log {
    pub(crate) fn new(detail: Detail, rows: Range<usize>, width: usize) -> Self {
        let days = if detail == Detail::Full { rows.len() } else { 0 };
        let size = days * width;
        Self {
            detail,
            equity: Vec::with_capacity(rows.len()),
            days: Vec::with_capacity(days),
            rows,
            trades: Vec::new(),
            shares: Vec::with_capacity(size),
            weights: Vec::with_capacity(size),
            capacity: Vec::new(),
        }
    }

    /// Returns the number of sessions that are written down.
    pub(crate) fn sessions(&self) -> usize {
        self.equity.len()
    }

    #[inline]
    pub(crate) fn push(&mut self, day: &Day, held: &[f64], closes: &[f64]) {
        let equity = day.equity();
        self.equity.push(equity);
        if self.detail == Detail::Full {
            self.days.push(*day);
            self.shares.extend_from_slice(held);
            self.weights.extend(held.iter().zip(closes).map(|(s, close)| s * close / equity));
        }
    }

    pub(crate) fn trade(&mut self, trade: Trade) {
        if self.detail == Detail::Full {
            self.trades.push(trade);
        }
    }

    /// Writes down how much capital a decision could carry.
    pub(crate) fn capacity(&mut self, config: &Config, average_daily: &[f64], weights: &[f64]) {
        let share = config.limits.adv_share.unwrap_or(CAPACITY_SHARE);
        self.capacity.extend(capacity(weights, average_daily, share));
    }

    pub(crate) fn finish(
        self,
        market: &Market,
        strategy: &dyn Strategy,
        config: &Config,
    ) -> Backtest {
        let equity: Vec<f64> = self.equity.iter().map(|equity| equity / config.capital).collect();
        let before = std::iter::once(&1.0).chain(&equity);
        // A ruined portfolio stands still.
        let change =
            |(before, now): (&f64, &f64)| if *before > 0.0 { now / before - 1.0 } else { 0.0 };
        let returns = before.zip(&equity).map(change).collect();
        let source = market.source();
        Backtest {
            provenance: Provenance {
                strategy: strategy.name(),
                universe: source.universe.clone(),
                snapshot: source.snapshot,
                bias: source.bias.clone(),
                config: config.clone(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            coverage: strategy.coverage(),
            sessions: market.sessions()[self.rows].to_vec(),
            tickers: market.tickers().cloned().collect(),
            equity,
            returns,
            days: self.days,
            trades: self.trades,
            capacity: self.capacity,
            shares: self.shares,
            weights: self.weights,
        }
    }
}
