//! The tear sheet of a run: one HTML page that needs nothing beside it, and the same as
//! JSON.
//!
//! The page has no script. What a number means stands in its tooltip and in a footnote, in
//! the words of the table of metrics; charts are inline SVG whose columns have tooltips.

mod charts;
mod page;
mod plot;
mod text;

use serde::Serialize;

use crate::{
    Backtest, Coverage, Day, Evaluation, Provenance, Trade,
    metrics::{Definition, drawdowns},
};

/// What a tear sheet is made of.
#[derive(Debug, Clone, Copy)]
pub struct TearSheet<'a> {
    /// The run, with its books.
    pub backtest: &'a Backtest,
    /// Its metrics.
    pub evaluation: &'a Evaluation,
    /// A run of the same sessions to compare it with.
    pub baseline: Option<&'a Backtest>,
    /// A line every page has to carry, such as that nothing in it is advice.
    pub disclaimer: &'a str,
}

/// The JSON form. Series have a value for each session.
#[derive(Debug, Serialize)]
struct Json<'a> {
    provenance: &'a Provenance,
    disclaimer: &'a str,
    /// How much of what it was asked the strategy had an opinion of; none for a rule.
    coverage: Option<Coverage>,
    evaluation: &'a Evaluation,
    /// What each metric of the evaluation means.
    definitions: Vec<&'static Definition>,
    /// Costs and income of all sessions, in the currency of prices.
    totals: Day,
    tickers: &'a [domain::Ticker],
    sessions: &'a [chrono::NaiveDate],
    equity: &'a [f64],
    returns: &'a [f64],
    drawdown: Option<Vec<f64>>,
    days: &'a [Day],
    trades: &'a [Trade],
}

impl TearSheet<'_> {
    /// Writes the page. The same run gives the same bytes.
    #[must_use]
    pub fn html(&self) -> String {
        page::page(self).into_string()
    }

    /// Writes the JSON form. The same run gives the same bytes.
    ///
    /// # Errors
    /// Fails where a number cannot be written, which no run has.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        let Self { backtest, evaluation, disclaimer, .. } = self;
        serde_json::to_string(&Json {
            provenance: &backtest.provenance,
            disclaimer,
            coverage: backtest.coverage,
            evaluation,
            definitions: evaluation.estimates.iter().map(|e| e.metric.definition()).collect(),
            totals: backtest.totals(),
            tickers: &backtest.tickers,
            sessions: &backtest.sessions,
            equity: &backtest.equity,
            returns: &backtest.returns,
            drawdown: drawdowns(&backtest.returns),
            days: &backtest.days,
            trades: &backtest.trades,
        })
    }
}
