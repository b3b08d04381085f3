//! What a backtest can be asked: the parameters of `GET /v1/backtest`, each checked before
//! anything is computed.

use std::str::FromStr;

use backtest::{
    BacktestError, Config, Costs, Fold, Limits, Market, WalkForward, Window,
    bootstrap::RESAMPLES_MAX,
    decision_days,
    strategies::{Needs, StrategyInfo, find},
};
use domain::Digest;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, value::MapDeserializer},
};
use utoipa::IntoParams;

use crate::problem::ApiError;

/// Strategy where none is named, and what it is compared with.
const STRATEGY: &str = "momentum_12_1";
const BASELINE: &str = "equal_weight";

/// Resamples of each interval where nothing is said.
const RESAMPLES: u32 = 1_000;

/// Days after which a recommendation is no longer followed.
const DECISION_DAYS: u32 = 45;

/// What a client has to know about a number that is none.
const WHOLE: &str = "a whole number of at least 0";
const NUMBER: &str = "a number";
const DATE: &str = "a date as 2020-12-31";

/// A parameter as it was sent; none where it was not.
#[derive(Debug, Default)]
struct Given(Option<String>);

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Some(text)))
    }
}

impl Given {
    fn parse<T: FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>, ApiError> {
        let Some(text) = &self.0 else { return Ok(None) };
        text.trim().parse().map(Some).map_err(|_| {
            let shown: String = text.chars().take(40).collect();
            wrong(name, format!("{name} is {shown:?}, expected {expected}"))
        })
    }

    fn or<T: FromStr>(&self, name: &str, expected: &str, default: T) -> Result<T, ApiError> {
        Ok(self.parse(name, expected)?.unwrap_or(default))
    }
}

/// The query of `GET /v1/backtest`. Sizes and durations count sessions.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct BacktestQuery {
    /// Universe; the one that is served where it is left out.
    #[param(value_type = Option<String>, example = "R20")]
    universe: Given,
    /// Name of the strategy.
    #[param(value_type = Option<String>, example = "momentum_12_1")]
    strategy: Given,
    /// Strategy it is compared with.
    #[param(value_type = Option<String>, example = "equal_weight")]
    baseline: Given,
    /// First date of the span; after seven years of sessions, or a quarter of them, where it is
    /// left out.
    #[param(value_type = Option<String>, format = Date)]
    start: Given,
    /// Last date of the span; the last session where it is left out.
    #[param(value_type = Option<String>, format = Date)]
    end: Given,
    /// Sessions a decision is held.
    #[param(value_type = Option<usize>, minimum = 1, example = 21)]
    horizon: Given,
    /// Sessions between decisions, a divisor of the horizon; the horizon where it is left out.
    #[param(value_type = Option<usize>, minimum = 1)]
    decide_every: Given,
    /// Sessions from the close of a decision to the close it is traded at.
    #[param(value_type = Option<usize>, minimum = 1)]
    delay: Given,
    /// Commission, or all proportional costs, in basis points of traded value.
    #[param(value_type = Option<f64>, minimum = 0, example = 5)]
    cost_bps: Given,
    /// Half the quoted spread, in basis points of traded value.
    #[param(value_type = Option<f64>, minimum = 0)]
    half_spread_bps: Given,
    /// Factor of the square-root impact; needs volumes.
    #[param(value_type = Option<f64>, minimum = 0)]
    impact: Given,
    /// Fee on short positions, basis points a year.
    #[param(value_type = Option<f64>, minimum = 0)]
    borrow_bps: Given,
    /// Largest share of a name's average daily volume traded on a day; needs volumes.
    #[param(value_type = Option<f64>)]
    adv_share: Given,
    /// Largest weight of a name.
    #[param(value_type = Option<f64>)]
    position_limit: Given,
    /// Capital before the first trade, in the currency of prices.
    #[param(value_type = Option<f64>)]
    capital: Given,
    /// Whether orders are rounded down to whole shares.
    #[param(value_type = Option<bool>)]
    whole_shares: Given,
    /// Interest on cash a year, as 0.03.
    #[param(value_type = Option<f64>)]
    cash_rate: Given,
    /// Return on the last close of a name that leaves the exchange without terms.
    #[param(value_type = Option<f64>)]
    delisting_return: Given,
    /// Seed of the bootstrap and of strategies that draw.
    #[param(value_type = Option<u64>, minimum = 0)]
    seed: Given,
    /// Sessions before the first test block, 320 where it is left out, or twice the horizon if
    /// that is more. The span must have room for a fold.
    #[param(value_type = Option<usize>, minimum = 1)]
    train_size: Given,
    /// Sessions of a test block, 120 where it is left out, or twice a horizon beyond 63.
    #[param(value_type = Option<usize>, minimum = 1)]
    test_size: Given,
    /// Sessions between the two, not fewer than the horizon; 63 or the horizon.
    #[param(value_type = Option<usize>, minimum = 0)]
    purged_size: Given,
    /// Sessions after a test block that later folds do not train on; 63 or the horizon.
    #[param(value_type = Option<usize>, minimum = 0)]
    embargo_size: Given,
    /// Whether training windows grow instead of rolling on.
    #[param(value_type = Option<bool>)]
    expanding: Given,
    /// Bootstrap resamples of each interval, 0 for no intervals.
    #[param(value_type = Option<u32>, minimum = 0, maximum = 10_000)]
    resamples: Given,
    /// Days after which a recommendation of a model is no longer followed.
    #[param(value_type = Option<u32>)]
    decision_days: Given,
    /// Seed with which the recommendations were written.
    #[param(value_type = Option<u64>, minimum = 0)]
    decision_seed: Given,
    /// `summary`, or `full` with the series of each session and all trades.
    #[param(value_type = Option<String>, example = "summary")]
    detail: Given,
}

/// A question that can be answered, its open ends filled.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Question {
    #[serde(serialize_with = "by_name")]
    pub(super) strategy: &'static StrategyInfo,
    #[serde(serialize_with = "by_name")]
    pub(super) baseline: &'static StrategyInfo,
    pub(super) config: Config,
    pub(super) sizes: WalkForward,
    #[serde(skip)]
    pub(super) folds: Vec<Fold>,
    pub(super) resamples: u32,
    pub(super) decision_days: u32,
    pub(super) decision_seed: u64,
    pub(super) is_full: bool,
}

fn by_name<S: serde::Serializer>(info: &&StrategyInfo, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(info.name)
}

impl BacktestQuery {
    /// Reads a query string.
    ///
    /// # Errors
    /// Fails on a parameter that is unknown or occurs twice.
    pub fn read(query: &str) -> Result<Self, ApiError> {
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        let pairs = pairs.map(|(name, value)| (name.into_owned(), value.into_owned()));
        Self::deserialize(MapDeserializer::new(pairs)).map_err(|error: de::value::Error| {
            let text = error.to_string().replace("field", "parameter");
            let name = text.split('`').nth(1).unwrap_or_default().chars().take(40).collect();
            ApiError::Parameter { name, detail: text.chars().take(600).collect() }
        })
    }

    /// Checks the parameters against each other and the market.
    pub(super) fn ask(&self, market: &Market) -> Result<Question, ApiError> {
        let served = &market.source().universe;
        let universe: String = self.universe.or("universe", "a name", served.clone())?;
        if universe != *served {
            let shown: String = universe.chars().take(40).collect();
            let detail =
                format!("universe {shown:?} is not served: leave it out, or give {served}");
            return Err(wrong("universe", detail));
        }
        let strategy = named(&self.strategy, "strategy", STRATEGY)?;
        let baseline = named(&self.baseline, "baseline", BASELINE)?;
        let config = self.config(market)?;
        decision_days(market, &config).map_err(refused)?;
        let sizes = self.sizes(config.horizon)?;
        let sessions = market.rows(config.start, config.end).map_err(refused)?.len();
        let folds = sizes.folds(sessions, config.horizon).map_err(refused)?;
        let resamples = self.resamples.or("resamples", WHOLE, RESAMPLES)?;
        if resamples > RESAMPLES_MAX {
            let detail = format!("resamples is {resamples}: give at most {RESAMPLES_MAX}");
            return Err(wrong("resamples", detail));
        }
        Ok(Question {
            strategy,
            baseline,
            config,
            sizes,
            folds,
            resamples,
            decision_days: self.decision_days.or("decision_days", WHOLE, DECISION_DAYS)?,
            decision_seed: self.decision_seed.or("decision_seed", WHOLE, 0)?,
            is_full: self.is_full()?,
        })
    }

    fn config(&self, market: &Market) -> Result<Config, ApiError> {
        let (start, end) =
            study::span(market, self.start.parse("start", DATE)?, self.end.parse("end", DATE)?);
        let base = Config::new(start, end);
        let horizon = self.horizon.or("horizon", WHOLE, base.horizon)?;
        let Costs { commission_bps, half_spread_bps, impact, borrow_bps } = base.costs;
        let config = Config {
            horizon,
            decide_every: self.decide_every.or("decide_every", WHOLE, horizon)?,
            delay: self.delay.or("delay", WHOLE, base.delay)?,
            capital: self.capital.or("capital", NUMBER, base.capital)?,
            costs: Costs {
                commission_bps: self.cost_bps.or("cost_bps", NUMBER, commission_bps)?,
                half_spread_bps: self.half_spread_bps.or(
                    "half_spread_bps",
                    NUMBER,
                    half_spread_bps,
                )?,
                impact: self.impact.or("impact", NUMBER, impact)?,
                borrow_bps: self.borrow_bps.or("borrow_bps", NUMBER, borrow_bps)?,
            },
            limits: Limits {
                adv_share: self.adv_share.parse("adv_share", NUMBER)?,
                position: self.position_limit.parse("position_limit", NUMBER)?,
                sector: None,
            },
            whole_shares: self.whole_shares.or("whole_shares", "true or false", false)?,
            cash_rate: self.cash_rate.or("cash_rate", NUMBER, base.cash_rate)?,
            delisting_return: self.delisting_return.or("delisting_return", NUMBER, 0.0)?,
            seed: self.seed.or("seed", WHOLE, base.seed)?,
            ..base
        };
        config.check().map_err(refused)?;
        Ok(config)
    }

    fn sizes(&self, horizon: usize) -> Result<WalkForward, ApiError> {
        let usual = WalkForward::for_horizon(horizon);
        let is_expanding = self.expanding.or("expanding", "true or false", false)?;
        Ok(WalkForward {
            train_size: self.train_size.or("train_size", WHOLE, usual.train_size)?,
            test_size: self.test_size.or("test_size", WHOLE, usual.test_size)?,
            purged_size: self.purged_size.or("purged_size", WHOLE, usual.purged_size)?,
            embargo_size: self.embargo_size.or("embargo_size", WHOLE, usual.embargo_size)?,
            window: if is_expanding { Window::Expanding } else { Window::Rolling },
        })
    }

    fn is_full(&self) -> Result<bool, ApiError> {
        match self.detail.0.as_deref() {
            None | Some("summary") => Ok(false),
            Some("full") => Ok(true),
            Some(_) => Err(wrong("detail", "detail is neither summary nor full".to_owned())),
        }
    }
}

impl Question {
    /// Returns whether recommendations of a model are followed.
    pub(super) fn follows_decisions(&self) -> bool {
        [self.strategy, self.baseline].iter().any(|info| info.needs == Needs::Decisions)
    }

    /// Names the question: equal ones of equal data have equal answers.
    pub(super) fn id(&self, snapshot: Digest, followed: Option<Digest>) -> Digest {
        let question = serde_json::to_string(self).unwrap_or_default();
        let followed = followed.map(|digest| digest.to_string()).unwrap_or_default();
        Digest::of(format!("{snapshot} {followed} {question}"))
    }
}

fn named(given: &Given, name: &str, usual: &str) -> Result<&'static StrategyInfo, ApiError> {
    let asked = given.0.as_deref().unwrap_or(usual);
    find(asked).map_err(|error| wrong(name, error.to_string()))
}

fn wrong(name: &str, detail: String) -> ApiError {
    ApiError::Parameter { name: name.to_owned(), detail }
}

/// Names the parameter that a refusal is about.
pub(super) fn refused(error: BacktestError) -> ApiError {
    let name = match &error {
        BacktestError::ReversedDates { .. } | BacktestError::ShortSpan { .. } => "start",
        BacktestError::OutsideData { name, .. }
        | BacktestError::BadParameter { name, .. }
        | BacktestError::LabelOverlap { name, .. } => name,
        BacktestError::MissingData { what: "market impact", .. } => "impact",
        BacktestError::MissingData { .. } => "adv_share",
        BacktestError::UnknownStrategy { .. } => "strategy",
        _ => return ApiError::Backtest(error.into()),
    };
    wrong(name, error.to_string())
}
