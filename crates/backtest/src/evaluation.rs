//! Every number a report shows of a run, in the order of the table of metrics.

use std::{cell::Cell, collections::BTreeMap};

use chrono::NaiveDate;
use serde::Serialize;

use crate::{
    Backtest, Forecast,
    bootstrap::{
        BlockInterval, Distribution, Estimate, Interval, MEAN_BLOCKS, Resampling, Stationary,
        estimate, paired_distribution, sharpe_difference,
    },
    metrics::{
        Metric, Weights, drawdown_at_equal_volatility, flip_rate, hit_rate, holding_period,
        label_flip_rate, sharpe, turnover,
    },
    reliability::{Bin, brier, classwise_ece, ece, log_loss, reliability, surprise},
    statistics::{
        DayLosses, SharpeSample, Test, deflated_sharpe, diebold_mariano, log_loss_skill,
        newey_west, probabilistic_sharpe,
    },
};

/// Bins of the reliability diagram and its calibration error.
pub const RELIABILITY_BINS: usize = 10;
/// Bins of the error that is reported beside it.
const FINE_BINS: usize = 15;

/// How a run is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Judge {
    /// Bootstraps of the intervals; none for no intervals.
    pub bootstraps: Vec<Stationary>,
    /// Confidence of the intervals.
    pub confidence: f64,
    /// Daily Sharpe ratios of all trials that were looked at, this one among them.
    pub trial_sharpes: Vec<f64>,
}

impl Judge {
    /// Confidence where nothing else is said.
    pub const CONFIDENCE: f64 = 0.95;

    /// Judges a single trial, with intervals by blocks of a month and of a quarter.
    #[must_use]
    pub fn new(resamples: u32, seed: u64) -> Self {
        Self::with_blocks(resamples, seed, &MEAN_BLOCKS)
    }

    /// Judges a single trial, with intervals by blocks of these mean lengths in days; without
    /// intervals where there are no resamples.
    #[must_use]
    pub fn with_blocks(resamples: u32, seed: u64, mean_blocks: &[u32]) -> Self {
        let bootstrap = |mean_block: &u32| Stationary { mean_block: *mean_block, resamples, seed };
        let blocks = if resamples == 0 { &[][..] } else { mean_blocks };
        let bootstraps = blocks.iter().map(bootstrap).collect();
        Self { bootstraps, confidence: Self::CONFIDENCE, trial_sharpes: Vec::new() }
    }

    /// Returns the interval of a statistic of so many sessions by each bootstrap; none by one
    /// whose blocks are too long for them.
    pub fn intervals(
        &self,
        sessions: usize,
        distribution: impl Fn(&Resampling) -> Distribution,
    ) -> Vec<BlockInterval> {
        let extent = Extent { values: sessions, sessions };
        Work::new(self, 1, &|_, _| true).intervals(extent, distribution)
    }
}

/// How many values a series has, and over how many sessions they are spread.
#[derive(Clone, Copy)]
struct Extent {
    values: usize,
    sessions: usize,
}

impl Extent {
    /// A value for each session.
    const fn daily(values: &[f64]) -> Self {
        Self { values: values.len(), sessions: values.len() }
    }

    /// A value for each date, among the sessions from the first of them to the last.
    fn of<T>(dates: &BTreeMap<NaiveDate, T>, sessions: &[NaiveDate]) -> Self {
        let ends = dates.keys().next().zip(dates.keys().next_back());
        let is_within = |session: &&NaiveDate| {
            ends.is_some_and(|(first, last)| (first..=last).contains(session))
        };
        Self { values: dates.len(), sessions: sessions.iter().filter(is_within).count() }
    }
}

/// A judge at work, who can be stopped before each interval: they are what takes time.
struct Work<'a> {
    judge: &'a Judge,
    /// Told how many intervals are done, of how many; false stops the work.
    go_on: &'a dyn Fn(usize, usize) -> bool,
    all: usize,
    done: Cell<usize>,
    is_stopped: Cell<bool>,
}

impl<'a> Work<'a> {
    fn new(judge: &'a Judge, metrics: usize, go_on: &'a dyn Fn(usize, usize) -> bool) -> Self {
        let all = metrics * judge.bootstraps.len();
        Self { judge, go_on, all, done: Cell::new(0), is_stopped: Cell::new(false) }
    }

    /// Returns the interval of a statistic of a series, whose blocks span as many sessions as
    /// those of the judge.
    fn each(
        &self,
        Extent { values, sessions }: Extent,
        interval: impl Fn(&Stationary) -> Option<Interval>,
    ) -> Vec<BlockInterval> {
        let one = |bootstrap: &Stationary| {
            let share = values as f64 / sessions.max(1) as f64;
            let mean_block = (f64::from(bootstrap.mean_block) * share).round().max(1.0) as u32;
            let bootstrap = Stationary { mean_block, ..*bootstrap };
            let is_wanted = !self.is_stopped.get() && (self.go_on)(self.done.get(), self.all);
            self.is_stopped.set(!is_wanted);
            self.done.set(self.done.get() + 1);
            let is_possible = is_wanted && bootstrap.suits(values);
            let interval = if is_possible { interval(&bootstrap) } else { None };
            BlockInterval { bootstrap, interval }
        };
        self.judge.bootstraps.iter().map(one).collect()
    }

    fn intervals(
        &self,
        extent: Extent,
        distribution: impl Fn(&Resampling) -> Distribution,
    ) -> Vec<BlockInterval> {
        self.each(extent, |bootstrap| {
            let found = distribution(&Resampling::Stationary(*bootstrap));
            found.interval(self.judge.confidence)
        })
    }
}

/// What a report says of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Metrics, in the order of [`Metric::all`]. Those the run has no data for are left out;
    /// those that are undefined have no value.
    pub estimates: Vec<Estimate>,
    /// Strategy the comparisons are with.
    pub baseline: Option<String>,
    /// Trials the deflated Sharpe ratio was judged against.
    pub trials: usize,
    /// Forecasts that were judged.
    pub forecasts: usize,
    /// Reliability of the top label; empty without forecasts.
    pub reliability: Vec<Bin>,
}

impl Evaluation {
    /// Returns the value of a metric.
    #[must_use]
    pub fn value(&self, metric: Metric) -> Option<f64> {
        self.estimates.iter().find(|estimate| estimate.metric == metric)?.value
    }
}

/// Computes all metrics of a run, those of a comparison if there is a baseline of the same
/// sessions, and those of forecasts if there are any.
#[must_use]
pub fn evaluate(
    backtest: &Backtest,
    baseline: Option<&Backtest>,
    forecasts: &[Forecast],
    judge: &Judge,
) -> Evaluation {
    let metrics = interval_metrics(backtest, baseline, forecasts);
    evaluated(backtest, baseline, forecasts, &Work::new(judge, metrics, &|_, _| true))
}

/// [`evaluate`] as work that can be watched and stopped: `go_on` is told how many intervals
/// are done, of how many, before each of them. None where it answered false.
#[must_use]
pub fn evaluate_while(
    backtest: &Backtest,
    baseline: Option<&Backtest>,
    forecasts: &[Forecast],
    judge: &Judge,
    go_on: &dyn Fn(usize, usize) -> bool,
) -> Option<Evaluation> {
    let metrics = interval_metrics(backtest, baseline, forecasts);
    let work = Work::new(judge, metrics, go_on);
    let evaluation = evaluated(backtest, baseline, forecasts, &work);
    (!work.is_stopped.get()).then_some(evaluation)
}

/// Counts the metrics that get intervals.
fn interval_metrics(
    backtest: &Backtest,
    baseline: Option<&Backtest>,
    forecasts: &[Forecast],
) -> usize {
    let of_returns = Metric::all().iter().filter(|row| has_interval_of_returns(row.metric));
    let compared = if same_sessions(backtest, baseline).is_some() { 2 } else { 0 };
    let forecast = if forecasts.is_empty() { 0 } else { 3 };
    of_returns.count() + usize::from(!backtest.days.is_empty()) + compared + forecast
}

fn has_interval_of_returns(metric: Metric) -> bool {
    metric.of_returns().is_some() && metric.definition().has_interval
}

/// Returns the baseline if it can be compared with.
fn same_sessions<'b>(backtest: &Backtest, baseline: Option<&'b Backtest>) -> Option<&'b Backtest> {
    baseline.filter(|baseline| baseline.sessions == backtest.sessions)
}

fn evaluated(
    backtest: &Backtest,
    baseline: Option<&Backtest>,
    forecasts: &[Forecast],
    work: &Work<'_>,
) -> Evaluation {
    let judge = work.judge;
    let baseline = same_sessions(backtest, baseline);
    let mut estimates = of_run(backtest, work);
    estimates
        .extend(baseline.into_iter().flat_map(|baseline| comparison(backtest, baseline, work)));
    estimates.extend(of_luck(&backtest.returns, judge));
    estimates.extend(of_forecasts(forecasts, &backtest.sessions, work));
    estimates.sort_by_key(|estimate| estimate.metric);
    let (probs, classes) = columns(forecasts);
    Evaluation {
        estimates,
        baseline: baseline.map(|baseline| baseline.provenance.strategy.clone()),
        trials: judge.trial_sharpes.len(),
        forecasts: forecasts.len(),
        reliability: reliability(&probs, &classes, RELIABILITY_BINS).unwrap_or_default(),
    }
}

fn plain(metric: Metric, value: Option<f64>) -> Estimate {
    Estimate { metric, value, intervals: Vec::new() }
}

fn of_run(backtest: &Backtest, work: &Work<'_>) -> Vec<Estimate> {
    let returns = &backtest.returns;
    let of_returns = |metric: Metric| {
        let value = metric.of_returns()?(returns);
        if !has_interval_of_returns(metric) {
            return Some(plain(metric, value));
        }
        let intervals = work.each(Extent::daily(returns), |bootstrap| {
            let found = estimate(metric, returns, &[*bootstrap], work.judge.confidence);
            found.intervals.first()?.interval
        });
        Some(Estimate { metric, value, intervals })
    };
    let metrics = Metric::all().iter().map(|row| row.metric);
    let mut estimates: Vec<Estimate> = metrics.filter_map(of_returns).collect();
    if !backtest.days.is_empty() {
        let held = backtest.was_invested();
        let flags: Vec<f64> = held.iter().map(|held| f64::from(u8::from(*held))).collect();
        let intervals = work.intervals(Extent::daily(returns), |resampling| {
            paired_distribution(returns, &flags, resampling, |returns, flags| {
                let held: Vec<bool> = flags.iter().map(|flag| *flag > 0.0).collect();
                hit_rate(returns, &held)
            })
        });
        let value = hit_rate(returns, &held);
        estimates.push(Estimate { metric: Metric::HitRate, value, intervals });
        let weights = backtest.weights();
        let of =
            |metric: Metric, f: fn(Weights<'_>) -> Option<f64>| plain(metric, weights.and_then(f));
        estimates.push(of(Metric::Turnover, turnover));
        estimates.push(of(Metric::FlipRate, flip_rate));
        estimates.push(of(Metric::HoldingPeriod, holding_period));
    }
    // The decision that could carry the least.
    let least = backtest.capacity.iter().copied().min_by(f64::total_cmp);
    estimates.extend(least.map(|least| plain(Metric::Capacity, Some(least))));
    estimates
}

/// Tests whether a strategy loses less than its baseline, the loss of a day being its return
/// with the other sign. Decisions look `horizon` sessions ahead, so that the losses of as many
/// depend on each other. Positive: the strategy loses less.
#[must_use]
pub fn diebold_mariano_of_returns(
    returns: &[f64],
    baseline: &[f64],
    horizon: usize,
) -> Option<Test> {
    let losses = |returns: &[f64]| returns.iter().map(|r| -r).collect::<Vec<f64>>();
    diebold_mariano(&losses(baseline), &losses(returns), horizon)
}

fn comparison(backtest: &Backtest, baseline: &Backtest, work: &Work<'_>) -> [Estimate; 3] {
    let horizon = backtest.provenance.config.horizon;
    let (returns, baseline) = (&backtest.returns, &baseline.returns);
    let difference = |(own, other): (Option<f64>, Option<f64>)| Some(own? - other?);
    let sharpe = Estimate {
        metric: Metric::SharpeDifference,
        value: difference((sharpe(returns), sharpe(baseline))),
        intervals: work.intervals(Extent::daily(returns), |resampling| {
            sharpe_difference(returns, baseline, resampling)
        }),
    };
    let drawdown = Estimate {
        metric: Metric::DrawdownAtEqualVolatility,
        value: drawdown_at_equal_volatility(returns, baseline),
        intervals: work.intervals(Extent::daily(returns), |resampling| {
            paired_distribution(returns, baseline, resampling, drawdown_at_equal_volatility)
        }),
    };
    let test = diebold_mariano_of_returns(returns, baseline, horizon);
    [sharpe, drawdown, plain(Metric::DieboldMariano, test.map(|test| test.statistic))]
}

fn of_luck(returns: &[f64], judge: &Judge) -> Vec<Estimate> {
    // The number of lags that grows as the bandwidth should (Newey and West 1994).
    let lags = (4.0 * (returns.len() as f64 / 100.0).powf(2.0 / 9.0)).floor() as usize;
    let sample = SharpeSample::of(returns);
    let above_zero = sample.and_then(|sample| probabilistic_sharpe(&sample, 0.0));
    let mut estimates = vec![
        plain(Metric::NeweyWestT, newey_west(returns, lags).map(|test| test.statistic)),
        plain(Metric::ProbabilisticSharpe, above_zero),
    ];
    if judge.trial_sharpes.len() > 1 {
        let deflated = sample.and_then(|sample| deflated_sharpe(&sample, &judge.trial_sharpes));
        let probability = deflated.map(|deflated| deflated.probability);
        estimates.push(plain(Metric::DeflatedSharpe, probability));
    }
    estimates
}

fn columns(forecasts: &[Forecast]) -> (Vec<[f64; 5]>, Vec<usize>) {
    forecasts.iter().map(|forecast| (forecast.probs, forecast.class)).unzip()
}

fn of_forecasts(forecasts: &[Forecast], sessions: &[NaiveDate], work: &Work<'_>) -> Vec<Estimate> {
    if forecasts.is_empty() {
        return Vec::new();
    }
    let (probs, classes) = columns(forecasts);
    let mut dates: BTreeMap<NaiveDate, DayLosses> = BTreeMap::new();
    let mut names: BTreeMap<usize, BTreeMap<NaiveDate, usize>> = BTreeMap::new();
    for forecast in forecasts {
        let losses = dates.entry(forecast.date).or_default();
        losses.add(&forecast.probs, &forecast.prior, forecast.class);
        let top =
            (1..5).fold(0, |top, k| if forecast.probs[k] > forecast.probs[top] { k } else { top });
        names.entry(forecast.name).or_default().insert(forecast.date, top);
    }
    let extent = Extent::of(&dates, sessions);
    let losses: Vec<DayLosses> = dates.into_values().collect();
    let labels: Vec<Vec<usize>> = names.into_values().map(|n| n.into_values().collect()).collect();
    let skill = |bootstrap: &Stationary| {
        let resampling = Resampling::Stationary(*bootstrap);
        log_loss_skill(&losses, &resampling, work.judge.confidence).interval
    };
    let none = Resampling::Stationary(Stationary { mean_block: 1, resamples: 0, seed: 0 });
    vec![
        plain(Metric::LabelFlipRate, label_flip_rate(labels.iter().map(Vec::as_slice))),
        Estimate {
            metric: Metric::LogLoss,
            value: log_loss(&probs, &classes),
            intervals: by_date(forecasts, extent, work, |forecast| {
                surprise(forecast.probs[forecast.class])
            }),
        },
        Estimate {
            metric: Metric::LogLossSkill,
            value: log_loss_skill(&losses, &none, work.judge.confidence).skill,
            intervals: work.each(extent, skill),
        },
        Estimate {
            metric: Metric::Brier,
            value: brier(&probs, &classes),
            intervals: by_date(forecasts, extent, work, |forecast| {
                brier(&[forecast.probs], &[forecast.class]).unwrap_or(f64::NAN)
            }),
        },
        plain(Metric::Ece, ece(&probs, &classes, RELIABILITY_BINS)),
        plain(Metric::ClasswiseEce, classwise_ece(&probs, &classes, RELIABILITY_BINS)),
        plain(Metric::Ece15, ece(&probs, &classes, FINE_BINS)),
    ]
}

/// Intervals of a mean loss, by resampling dates whole: forecasts of a date share the
/// market's move.
fn by_date(
    forecasts: &[Forecast],
    extent: Extent,
    work: &Work<'_>,
    loss: impl Fn(&Forecast) -> f64,
) -> Vec<BlockInterval> {
    let mut dates: BTreeMap<NaiveDate, (f64, f64)> = BTreeMap::new();
    for forecast in forecasts {
        let (sum, count) = dates.entry(forecast.date).or_default();
        (*sum, *count) = (*sum + loss(forecast), *count + 1.0);
    }
    let (sums, counts): (Vec<f64>, Vec<f64>) = dates.into_values().unzip();
    work.intervals(extent, |resampling| {
        paired_distribution(&sums, &counts, resampling, |sums, counts| {
            Some(sums.iter().sum::<f64>() / counts.iter().sum::<f64>())
        })
    })
}

#[cfg(test)]
mod tests {
    use chrono::Days;

    use super::*;
    use crate::{
        Bar, Config, Detail, History, Market, Source, Strategy, run,
        strategies::{BuyAndHold, EqualWeight},
    };

    #[test]
    fn an_evaluation_can_be_watched_and_stopped() {
        let source = Source { universe: "T".to_owned(), snapshot: None, bias: String::new() };
        let day = |row: u64| NaiveDate::default() + Days::new(row);
        let bar = |row: u64| {
            let close = 100.0 + (row * row % 17) as f64;
            Bar { session: day(row), close, adjusted: close, volume: None }
        };
        let history = History {
            ticker: "T".parse().unwrap(),
            sector: None,
            half_spread_bps: None,
            bars: (0..80).map(bar).collect(),
            actions: Vec::new(),
        };
        let market = Market::new(source, vec![history]).unwrap();
        let config = Config::new(day(0), day(79));
        let books =
            |strategy: &mut dyn Strategy| run(&market, strategy, &config, Detail::Full).unwrap();
        let (own, other) = (books(&mut EqualWeight), books(&mut BuyAndHold::default()));
        let judge = Judge::new(20, 1);
        let steps = Cell::new(0);
        let watched = evaluate_while(&own, Some(&other), &[], &judge, &|done, all| {
            assert_eq!(done, steps.replace(done + 1));
            done < all
        });
        let plain = evaluate(&own, Some(&other), &[], &judge);
        assert_eq!(watched, Some(plain.clone()));
        let intervals = plain.estimates.iter().map(|estimate| estimate.intervals.len());
        assert_eq!(intervals.sum::<usize>(), steps.get());
        let stop = |done, _| done < 5;
        assert_eq!(evaluate_while(&own, Some(&other), &[], &judge, &stop), None);
    }
}
