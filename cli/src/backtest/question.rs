//! Span, costs and limits as a person types them.

use backtest::{BacktestError, Config, Costs, Limits, Market};
use chrono::NaiveDate;
use clap::Args;
use inference::model::ModelManifest;
use lake::DEFAULT_UNIVERSE;
use std::path::PathBuf;
use study::span;

#[derive(Debug, Clone, Args)]
pub(crate) struct Question {
    /// Universe whose current snapshot is read.
    #[arg(long, default_value = DEFAULT_UNIVERSE)]
    pub(crate) universe: String,
    /// First date of the span, YYYY-MM-DD; after seven years of sessions, or a
    /// quarter of them, by default.
    #[arg(long)]
    start: Option<NaiveDate>,
    /// Last date of the span, YYYY-MM-DD; the last session by default.
    #[arg(long)]
    end: Option<NaiveDate>,
    /// Sessions a decision is held.
    #[arg(long, default_value_t = Config::HORIZON)]
    horizon: usize,
    /// Sessions between decisions, which divide the horizon; holdings overlap where they are
    /// fewer. The horizon by default.
    #[arg(long)]
    decide_every: Option<usize>,
    /// Sessions from the close of a decision to the close it is traded at.
    #[arg(long, default_value_t = 1)]
    delay: usize,
    /// Commission, or all proportional costs, in basis points of traded value.
    #[arg(long, default_value_t = 5.0, allow_hyphen_values = true)]
    cost_bps: f64,
    /// Half the quoted spread, in basis points of traded value.
    #[arg(long, default_value_t = 0.0, allow_hyphen_values = true)]
    half_spread_bps: f64,
    /// Factor of the square-root impact; needs volumes. 1 is usual, 0 is none.
    #[arg(long, default_value_t = 0.0, allow_hyphen_values = true)]
    impact: f64,
    /// Fee on short positions, basis points a year.
    #[arg(long, default_value_t = 0.0, allow_hyphen_values = true)]
    borrow_bps: f64,
    /// Largest share of a name's average daily volume traded on a day, as 0.05; needs volumes.
    #[arg(long)]
    adv_share: Option<f64>,
    /// Largest weight of a name, as 0.1.
    #[arg(long)]
    position_limit: Option<f64>,
    /// Capital before the first trade, in the currency of prices.
    #[arg(long, default_value_t = 1e6)]
    capital: f64,
    /// Round orders down to whole shares.
    #[arg(long)]
    whole_shares: bool,
    /// Interest on cash a year, as 0.03.
    #[arg(long, default_value_t = 0.0, allow_hyphen_values = true)]
    cash_rate: f64,
    /// Return on the last close of a name that leaves the exchange without terms, as -0.3.
    #[arg(long, default_value_t = 0.0, allow_hyphen_values = true)]
    delisting_return: f64,
    /// Seed of the bootstrap and of strategies that draw.
    #[arg(long, default_value_t = 42)]
    pub(crate) seed: u64,
    /// Recommendations that strategy decisions follows: JSON lines as `r2r thesis --json` prints
    /// them, one answer a line; ticker, as_of, decision.label and decision.probs are read.
    /// Where no file is given, --model writes them, and what it has written is kept.
    #[arg(long)]
    pub(crate) decisions: Option<PathBuf>,
    /// Model that writes what strategy decisions follows: name of a manifest, or path of a GGUF
    /// file.
    #[arg(long, default_value = ModelManifest::DEFAULT, conflicts_with = "decisions")]
    pub(crate) model: String,
    /// Seed of its sampler.
    #[arg(long, default_value_t = 0, conflicts_with = "decisions")]
    pub(crate) decision_seed: u64,
    /// Days after which a recommendation is no longer followed.
    #[arg(long, default_value_t = 45)]
    pub(crate) decision_days: u32,
}

impl Question {
    /// Checks what can be checked before any data is read.
    pub(crate) fn check(&self) -> Result<(), BacktestError> {
        let start = self.start.or(self.end).unwrap_or_default();
        self.filled(start, self.end.unwrap_or(start)).check()
    }

    /// Returns the question with the dates that were left to the market.
    pub(crate) fn config(&self, market: &Market) -> Result<Config, BacktestError> {
        let (start, end) = span(market, self.start, self.end);
        let config = self.filled(start, end);
        config.check()?;
        Ok(config)
    }

    fn filled(&self, start: NaiveDate, end: NaiveDate) -> Config {
        Config {
            horizon: self.horizon,
            decide_every: self.decide_every.unwrap_or(self.horizon),
            delay: self.delay,
            capital: self.capital,
            costs: Costs {
                commission_bps: self.cost_bps,
                half_spread_bps: self.half_spread_bps,
                impact: self.impact,
                borrow_bps: self.borrow_bps,
            },
            // Universes have no sectors yet.
            limits: Limits {
                adv_share: self.adv_share,
                position: self.position_limit,
                sector: None,
            },
            whole_shares: self.whole_shares,
            cash_rate: self.cash_rate,
            delisting_return: self.delisting_return,
            seed: self.seed,
            ..Config::new(start, end)
        }
    }
}
