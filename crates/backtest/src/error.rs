//! What can be wrong with the question a backtest is asked, and what to do about it.

use chrono::NaiveDate;
use domain::Ticker;
use thiserror::Error;

/// Why a backtest cannot be run. Each message is one line and names the remedy.
#[derive(Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum BacktestError {
    /// The market has no session.
    #[error("universe {0} has no sessions: build its snapshot, or choose another universe")]
    NoSessions(String),
    /// A bar cannot be used.
    #[error("{ticker}, session {session}: {reason}")]
    BadBar {
        /// Name.
        ticker: Ticker,
        /// Session.
        session: NaiveDate,
        /// What is wrong, with the remedy.
        reason: &'static str,
    },
    /// A name occurs twice.
    #[error("{0} occurs twice among the names: give each name one history")]
    DuplicateTicker(Ticker),
    /// The last date is before the first.
    #[error("the span ends on {end}, before it starts on {start}: exchange start and end")]
    ReversedDates {
        /// First date.
        start: NaiveDate,
        /// Last date.
        end: NaiveDate,
    },
    /// The data does not reach that far.
    #[error("{date} is outside the sessions of universe {universe}, {first} to {last}")]
    OutsideData {
        /// Which end of the span, `start` or `end`.
        name: &'static str,
        /// The date that was asked for.
        date: NaiveDate,
        /// Universe.
        universe: String,
        /// First session.
        first: NaiveDate,
        /// Last session.
        last: NaiveDate,
    },
    /// There are fewer sessions than what was asked for takes.
    #[error("the span has {found} sessions, fewer than the {needed} that {what} take: widen it")]
    ShortSpan {
        /// Sessions there are.
        found: usize,
        /// Sessions needed.
        needed: usize,
        /// For what.
        what: &'static str,
    },
    /// A parameter is out of its range.
    #[error("{name} is {value}: {remedy}")]
    BadParameter {
        /// Parameter.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        remedy: &'static str,
    },
    /// Training labels would look into the test span.
    #[error(
        "{name} is {found}, shorter than the longest horizon of {horizon} sessions: {reason}; give at least {horizon}"
    )]
    LabelOverlap {
        /// The size that is too small.
        name: &'static str,
        /// Its value.
        found: usize,
        /// Longest horizon of the labels.
        horizon: usize,
        /// What would be known too early.
        reason: &'static str,
    },
    /// A cost or limit needs data the market lacks.
    #[error("{what} needs {data}, which {ticker} has none of in this universe: {remedy}")]
    MissingData {
        /// Cost or limit.
        what: &'static str,
        /// What is missing.
        data: &'static str,
        /// The first name without it.
        ticker: Ticker,
        /// What to do instead.
        remedy: &'static str,
    },
    /// No strategy has this name.
    #[error("no strategy is called {name:?}{}there are {known}", meant(near))]
    UnknownStrategy {
        /// What was asked for.
        name: String,
        /// The name it resembles most.
        near: Option<&'static str>,
        /// Names there are.
        known: String,
    },
    /// A strategy asked for a weight that is not a number.
    #[error(
        "strategy {strategy} gave {ticker} the weight {weight} on {session}: weights are finite"
    )]
    BadWeight {
        /// Strategy.
        strategy: String,
        /// Name.
        ticker: Ticker,
        /// Weight.
        weight: f64,
        /// Session of the decision.
        session: NaiveDate,
    },
    /// Someone asked to stop.
    #[error("stopped on request after {done} of {all} runs")]
    Cancelled {
        /// Runs that were completed.
        done: usize,
        /// Runs that were asked for.
        all: usize,
    },
}

fn meant(near: &Option<&'static str>) -> String {
    near.map_or_else(|| "; ".to_owned(), |near| format!(", did you mean {near}? "))
}
