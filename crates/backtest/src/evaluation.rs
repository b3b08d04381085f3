//! Every number a report shows of a run, in the order of the table of metrics.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use domain::{Label, LabelProbs};
use serde::Serialize;

use crate::{
    Backtest,
    bootstrap::{
        BlockInterval, Distribution, Estimate, MEAN_BLOCKS, Resampling, Stationary, estimate,
        paired_distribution, sharpe_difference,
    },
    metrics::{
        Metric, Weights, drawdown_at_equal_volatility, flip_rate, hit_rate, holding_period,
        label_flip_rate, sharpe, turnover,
    },
    reliability::{Bin, brier, classwise_ece, ece, log_loss, reliability, surprise},
    statistics::{
        DayLosses, SharpeSample, deflated_sharpe, log_loss_skill, newey_west, probabilistic_sharpe,
    },
};

/// Bins of the reliability diagram and its calibration error.
pub const RELIABILITY_BINS: usize = 10;

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
        let bootstrap = |mean_block| Stationary { mean_block, resamples, seed };
        let bootstraps =
            if resamples == 0 { Vec::new() } else { MEAN_BLOCKS.map(bootstrap).into() };
        Self { bootstraps, confidence: Self::CONFIDENCE, trial_sharpes: Vec::new() }
    }

    fn intervals(&self, distribution: impl Fn(&Resampling) -> Distribution) -> Vec<BlockInterval> {
        let interval = |bootstrap: &Stationary| {
            let found = distribution(&Resampling::Stationary(*bootstrap));
            BlockInterval { bootstrap: *bootstrap, interval: found.interval(self.confidence) }
        };
        self.bootstraps.iter().map(interval).collect()
    }
}

/// A forecast of a name whose label has become known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// Position of the name.
    pub name: usize,
    /// Date of the forecast.
    pub date: NaiveDate,
    /// Probabilities of the classes.
    pub probs: [f64; 5],
    /// Frequencies of the classes among labels known by then, the forecast without skill.
    pub prior: [f64; 5],
    /// Class that came true.
    pub class: usize,
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
    let baseline = baseline.filter(|baseline| baseline.sessions == backtest.sessions);
    let mut estimates = of_run(backtest, judge);
    estimates.extend(
        baseline
            .into_iter()
            .flat_map(|baseline| comparison(&backtest.returns, &baseline.returns, judge)),
    );
    estimates.extend(of_luck(&backtest.returns, judge));
    estimates.extend(of_forecasts(forecasts, judge));
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

fn of_run(backtest: &Backtest, judge: &Judge) -> Vec<Estimate> {
    let returns = &backtest.returns;
    let mut estimates: Vec<Estimate> = Metric::all()
        .iter()
        .filter(|definition| definition.metric.of_returns().is_some())
        .map(|row| estimate(row.metric, returns, &judge.bootstraps, judge.confidence))
        .collect();
    if !backtest.days.is_empty() {
        let held = backtest.was_invested();
        let flags: Vec<f64> = held.iter().map(|held| f64::from(u8::from(*held))).collect();
        let intervals = judge.intervals(|resampling| {
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

fn comparison(returns: &[f64], baseline: &[f64], judge: &Judge) -> [Estimate; 2] {
    let difference = |(own, other): (Option<f64>, Option<f64>)| Some(own? - other?);
    let sharpe = Estimate {
        metric: Metric::SharpeDifference,
        value: difference((sharpe(returns), sharpe(baseline))),
        intervals: judge.intervals(|resampling| sharpe_difference(returns, baseline, resampling)),
    };
    let drawdown = Estimate {
        metric: Metric::DrawdownAtEqualVolatility,
        value: drawdown_at_equal_volatility(returns, baseline),
        intervals: judge.intervals(|resampling| {
            paired_distribution(returns, baseline, resampling, drawdown_at_equal_volatility)
        }),
    };
    [sharpe, drawdown]
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

fn of_forecasts(forecasts: &[Forecast], judge: &Judge) -> Vec<Estimate> {
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
    let losses: Vec<DayLosses> = dates.into_values().collect();
    let labels: Vec<Vec<usize>> = names.into_values().map(|n| n.into_values().collect()).collect();
    let skill = |bootstrap: &Stationary| {
        let resampling = Resampling::Stationary(*bootstrap);
        let skill = log_loss_skill(&losses, &resampling, judge.confidence);
        BlockInterval { bootstrap: *bootstrap, interval: skill.interval }
    };
    let none = Resampling::Stationary(Stationary { mean_block: 1, resamples: 0, seed: 0 });
    vec![
        plain(Metric::LabelFlipRate, label_flip_rate(labels.iter().map(Vec::as_slice))),
        Estimate {
            metric: Metric::LogLoss,
            value: log_loss(&probs, &classes),
            intervals: by_date(forecasts, judge, |forecast| {
                surprise(forecast.probs[forecast.class])
            }),
        },
        Estimate {
            metric: Metric::LogLossSkill,
            value: log_loss_skill(&losses, &none, judge.confidence).skill,
            intervals: judge.bootstraps.iter().map(skill).collect(),
        },
        Estimate {
            metric: Metric::Brier,
            value: brier(&probs, &classes),
            intervals: by_date(forecasts, judge, |forecast| {
                brier(&[forecast.probs], &[forecast.class]).unwrap_or(f64::NAN)
            }),
        },
        plain(Metric::Ece, ece(&probs, &classes, RELIABILITY_BINS)),
        plain(Metric::ClasswiseEce, classwise_ece(&probs, &classes, RELIABILITY_BINS)),
    ]
}

/// Intervals of a mean loss, by resampling dates whole: forecasts of a date share the
/// market's move.
fn by_date(
    forecasts: &[Forecast],
    judge: &Judge,
    loss: impl Fn(&Forecast) -> f64,
) -> Vec<BlockInterval> {
    let mut dates: BTreeMap<NaiveDate, (f64, f64)> = BTreeMap::new();
    for forecast in forecasts {
        let (sum, count) = dates.entry(forecast.date).or_default();
        (*sum, *count) = (*sum + loss(forecast), *count + 1.0);
    }
    let (sums, counts): (Vec<f64>, Vec<f64>) = dates.into_values().unzip();
    judge.intervals(|resampling| {
        paired_distribution(&sums, &counts, resampling, |sums, counts| {
            Some(sums.iter().sum::<f64>() / counts.iter().sum::<f64>())
        })
    })
}

/// A label with the day on which it became known, which is after its horizon has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownLabel {
    /// Position of the name.
    pub name: usize,
    /// Session it is about.
    pub session: NaiveDate,
    /// Day it became known.
    pub known: NaiveDate,
    /// Class.
    pub label: Label,
}

/// Returns what counts of the classes let expect: their frequencies by the rule of
/// succession (Laplace 1814), (n + 1) / (N + 5). A class that has not come true yet is not
/// impossible; were it, the first time would count without bound against the prior.
#[must_use]
pub fn prior(counts: [usize; 5]) -> [f64; 5] {
    let total = counts.iter().sum::<usize>() as f64;
    counts.map(|count| (count as f64 + 1.0) / (total + 5.0))
}

/// Lines forecasts up with the labels that came true, and with the [`prior`] of the labels
/// known on the day of the forecast. Forecasts without a label, or before the first one is
/// known, are left out. Results are in order of dates and names.
#[must_use]
pub fn judged_forecasts(
    forecasts: &[(usize, NaiveDate, LabelProbs)],
    labels: &[KnownLabel],
) -> Vec<Forecast> {
    let class: BTreeMap<(NaiveDate, usize), usize> =
        labels.iter().map(|known| ((known.session, known.name), known.label.index())).collect();
    let mut by_known: Vec<&KnownLabel> = labels.iter().collect();
    by_known.sort_by_key(|label| label.known);
    let mut in_order: Vec<&(usize, NaiveDate, LabelProbs)> = forecasts.iter().collect();
    in_order.sort_by_key(|(name, date, _)| (*date, *name));
    let (mut counts, mut counted) = ([0_usize; 5], 0);
    let mut judged = Vec::new();
    for (name, date, probs) in in_order {
        while let Some(label) = by_known.get(counted).filter(|label| label.known <= *date) {
            counts[label.label.index()] += 1;
            counted += 1;
        }
        let Some(class) = class.get(&(*date, *name)).filter(|_| counted > 0) else { continue };
        let (name, date, probs, class) = (*name, *date, probs.values(), *class);
        let prior = prior(counts);
        judged.push(Forecast { name, date, probs, prior, class });
    }
    judged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forecast_is_judged_by_its_label_and_the_labels_known_then() {
        let day = |day| NaiveDate::from_ymd_opt(2020, 1, day).unwrap();
        let label = |name, session, known, label| KnownLabel {
            name,
            session: day(session),
            known: day(known),
            label,
        };
        let labels = [
            label(0, 1, 10, Label::Buy),
            label(1, 1, 10, Label::Sell),
            label(0, 12, 21, Label::SBuy),
            label(1, 9, 20, Label::Hold),
        ];
        let probs = LabelProbs::new([0.0, 0.1, 0.2, 0.3, 0.4]).unwrap();
        let forecasts = [(0, day(12), probs), (1, day(9), probs), (1, day(12), probs)];
        let judged = judged_forecasts(&forecasts, &labels);
        // The second is made before any label is known, the third has no label.
        assert_eq!(judged.len(), 1);
        assert_eq!(judged[0].class, Label::SBuy.index());
        assert_eq!(judged[0].prior, [1.0, 2.0, 1.0, 2.0, 1.0].map(|n| n / 7.0));
    }
}
