//! Stationary bootstrap (Politis and Romano 1994) of statistics of daily series.
//!
//! A resample strings together blocks of the series that start anywhere, wrap around at
//! its end and have geometric lengths, until it is as long as the series. Here it is a
//! list of [`Run`]s: the Sharpe ratio needs prefix sums at their ends only, other
//! statistics the values themselves. Each resample has a random stream of its own, so
//! results do not depend on the number of threads.

mod block_length;
mod draw;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use block_length::optimal_block_length;
pub use draw::{GivenIndices, IndexError, Resampling, Stationary};

use crate::metrics::{
    DAYS_PER_YEAR, Metric, daily_sharpe,
    moments::{finite, mean, quantile, sample_deviation, squares},
};
use draw::Run;

/// Mean block lengths that reports show: a month and a quarter.
pub const MEAN_BLOCKS: [u32; 2] = [21, 63];

/// Resamples that may be asked for: beyond, intervals do not move, and time and memory grow.
pub const RESAMPLES_MAX: u32 = 10_000;

/// Fewer defined resamples than this share make an interval undefined: those left out
/// are not like those that count.
const DEFINED_SHARE_MIN: f64 = 0.95;

/// A statistic in each resample, in their order; none where it is undefined.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution(Vec<Option<f64>>);

/// A percentile interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Confidence, such as 0.95.
    pub confidence: f64,
    /// Lower end.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
}

/// A metric with its intervals, one a mean block length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The metric.
    pub metric: Metric,
    /// Its value; none if undefined.
    pub value: Option<f64>,
    /// Intervals; empty where they make no sense.
    pub intervals: Vec<BlockInterval>,
}

/// An interval with the bootstrap it is from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BlockInterval {
    /// The bootstrap.
    #[serde(flatten)]
    pub bootstrap: Stationary,
    /// The interval; none if undefined.
    pub interval: Option<Interval>,
}

impl Distribution {
    /// Returns the statistic in each resample.
    #[must_use]
    pub fn values(&self) -> &[Option<f64>] {
        &self.0
    }

    /// Returns the interval between the quantiles at (1 - confidence) / 2 and 1 less that,
    /// linear between order statistics. Undefined if the statistic is undefined in more
    /// than a twentieth of the resamples.
    #[must_use]
    pub fn interval(&self, confidence: f64) -> Option<Interval> {
        let mut values = self.defined()?;
        let tail = (1.0 - confidence) / 2.0;
        let lower = quantile(&mut values, tail)?;
        let upper = quantile(&mut values, 1.0 - tail)?;
        Some(Interval { confidence, lower, upper })
    }

    /// Returns the sample standard deviation over resamples: the standard error.
    #[must_use]
    pub fn standard_error(&self) -> Option<f64> {
        sample_deviation(&self.defined()?)
    }

    fn defined(&self) -> Option<Vec<f64>> {
        let defined: Vec<f64> = self.0.iter().copied().flatten().collect();
        let is_enough = defined.len() as f64 >= DEFINED_SHARE_MIN * self.0.len() as f64;
        (is_enough && !defined.is_empty()).then_some(defined)
    }
}

/// Resamples any statistic of one series. Takes a time of resamples x days.
pub fn distribution(
    series: &[f64],
    resampling: &Resampling,
    statistic: impl Fn(&[f64]) -> Option<f64> + Sync,
) -> Distribution {
    each(series.len(), resampling, |runs, [values, _]| {
        gather(series, runs, values);
        statistic(values)
    })
}

/// Resamples any statistic of two series by day, both by the same days, as a paired
/// comparison does. Undefined throughout if their lengths differ.
pub fn paired_distribution(
    first: &[f64],
    second: &[f64],
    resampling: &Resampling,
    statistic: impl Fn(&[f64], &[f64]) -> Option<f64> + Sync,
) -> Distribution {
    each(first.len(), resampling, |runs, [one, two]| {
        if first.len() != second.len() {
            return None;
        }
        gather(first, runs, one);
        gather(second, runs, two);
        statistic(one, two)
    })
}

/// Resamples the annual Sharpe ratio. Takes a time of resamples x blocks: tens of times
/// less than [`distribution`].
#[must_use]
pub fn sharpe_distribution(returns: &[f64], resampling: &Resampling) -> Distribution {
    let sums = Sums::new(returns);
    each(returns.len(), resampling, |runs, [values, _]| sums.sharpe(runs, values))
}

/// Resamples the difference of two annual Sharpe ratios, first less second, both by the
/// same days. Undefined throughout if their lengths differ.
#[must_use]
pub fn sharpe_difference(first: &[f64], second: &[f64], resampling: &Resampling) -> Distribution {
    let (one, two) = (Sums::new(first), Sums::new(second));
    each(first.len(), resampling, |runs, [values, _]| {
        if first.len() != second.len() {
            return None;
        }
        Some(one.sharpe(runs, values)? - two.sharpe(runs, values)?)
    })
}

/// Computes a metric of daily returns with the interval of each bootstrap, if one makes
/// sense. Undefined, without intervals, if the metric takes more than returns.
#[must_use]
pub fn estimate(
    metric: Metric,
    returns: &[f64],
    bootstraps: &[Stationary],
    confidence: f64,
) -> Estimate {
    let Some(function) = metric.of_returns() else {
        return Estimate { metric, value: None, intervals: Vec::new() };
    };
    let bootstraps = if metric.definition().has_interval { bootstraps } else { &[] };
    let interval = |bootstrap: &Stationary| {
        let resampling = Resampling::Stationary(*bootstrap);
        let distribution = match metric {
            Metric::Sharpe => sharpe_distribution(returns, &resampling),
            _ => distribution(returns, &resampling, function),
        };
        BlockInterval { bootstrap: *bootstrap, interval: distribution.interval(confidence) }
    };
    let intervals = bootstraps.iter().map(interval).collect();
    Estimate { metric, value: function(returns), intervals }
}

/// Evaluates each resample, in parallel, with two buffers for values.
fn each(
    days: usize,
    resampling: &Resampling,
    statistic: impl Fn(&[Run], &mut [Vec<f64>; 2]) -> Option<f64> + Sync,
) -> Distribution {
    let one = |(runs, buffers): &mut (Vec<Run>, [Vec<f64>; 2]), resample| {
        resampling.runs(resample, days, runs);
        (!runs.is_empty()).then(|| statistic(runs, buffers)).flatten().and_then(finite)
    };
    Distribution((0..resampling.count()).into_par_iter().map_init(Default::default, one).collect())
}

/// Writes out a resample.
fn gather(series: &[f64], runs: &[Run], values: &mut Vec<f64>) {
    values.clear();
    for run in runs {
        let end = run.end().min(series.len());
        values.extend_from_slice(&series[run.start()..end]);
        values.extend_from_slice(&series[..run.end() - end]);
    }
}

/// Sums of returns and of their squares up to each day, of the series twice over, so that
/// a run that wraps has both its ends in it. Returns count from their mean, which keeps
/// the differences of sums exact to about 1e-13.
struct Sums<'a> {
    returns: &'a [f64],
    mean: f64,
    variance: f64,
    upto: Vec<[f64; 2]>,
}

impl<'a> Sums<'a> {
    fn new(returns: &'a [f64]) -> Self {
        let mean = mean(returns).unwrap_or(f64::NAN);
        let variance = squares(returns, mean) / returns.len() as f64;
        let mut upto = Vec::with_capacity(2 * returns.len() + 1);
        let mut sum = [0.0; 2];
        upto.push(sum);
        for r in returns.iter().chain(returns) {
            let distance = r - mean;
            sum = [sum[0] + distance, sum[1] + distance * distance];
            upto.push(sum);
        }
        Self { returns, mean, variance, upto }
    }

    fn sharpe(&self, runs: &[Run], values: &mut Vec<f64>) -> Option<f64> {
        let (mut days, mut sum, mut squares) = (0, 0.0, 0.0);
        for run in runs {
            let (before, after) = (self.upto[run.start()], self.upto[run.end()]);
            sum += after[0] - before[0];
            squares += after[1] - before[1];
            days += run.days();
        }
        let n = days as f64;
        let variance = (squares - sum * sum / n) / (n - 1.0);
        let daily = if variance > 1e-6 * self.variance {
            (self.mean + sum / n) / variance.sqrt()
        } else {
            // Hardly any day of the resample moves: the differences of sums are all
            // rounding, and only the values tell whether the ratio is defined.
            gather(self.returns, runs, values);
            daily_sharpe(values)?
        };
        finite(daily * DAYS_PER_YEAR.sqrt())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::{max_drawdown, sharpe};

    fn close(left: Option<f64>, right: Option<f64>) -> bool {
        match (left, right) {
            (Some(left), Some(right)) => (left - right).abs() <= 1e-9 * right.abs().max(1e-3),
            (left, right) => left == right,
        }
    }

    proptest! {
        /// Series with flat stretches, whose resamples may not move at all.
        #[test]
        fn the_sharpe_ratio_of_sums_is_that_of_the_values(
            returns in prop::collection::vec(
                prop_oneof![Just(0.0), Just(0.0), -0.05..0.05_f64], 1..60),
            mean_block in 1_u32..30,
            seed: u64,
        ) {
            let plan = Resampling::Stationary(Stationary { mean_block, resamples: 20, seed });
            let fast = sharpe_distribution(&returns, &plan);
            let slow = distribution(&returns, &plan, sharpe);
            for (fast, slow) in fast.values().iter().zip(slow.values()) {
                prop_assert!(close(*fast, *slow), "{fast:?} {slow:?}");
            }
        }

        #[test]
        fn indices_written_out_give_the_same_resamples(
            returns in prop::collection::vec(-0.05..0.05_f64, 2..60),
            mean_block in 1_u32..30,
            seed: u64,
        ) {
            let drawn = Resampling::Stationary(Stationary { mean_block, resamples: 5, seed });
            let indices: Vec<Vec<usize>> =
                (0..5).map(|resample| drawn.indices(resample, returns.len())).collect();
            prop_assert!(indices.iter().all(|resample| resample.len() == returns.len()));
            let given = Resampling::Given(GivenIndices::new(returns.len(), &indices).unwrap());
            for statistic in [sharpe, max_drawdown] {
                prop_assert_eq!(
                    distribution(&returns, &drawn, statistic),
                    distribution(&returns, &given, statistic)
                );
            }
        }
    }

    #[test]
    fn one_thread_draws_what_many_draw() {
        let returns: Vec<f64> =
            (0..500).map(|day| f64::from(day * 7919 % 101) / 5e3 - 0.01).collect();
        let plan = Resampling::Stationary(Stationary { mean_block: 21, resamples: 200, seed: 7 });
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| sharpe_distribution(&returns, &plan))
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn a_series_against_itself_differs_by_nothing() {
        let returns = [0.01, -0.02, 0.03, 0.0, 0.01, -0.01];
        let plan = Resampling::Stationary(Stationary { mean_block: 2, resamples: 50, seed: 1 });
        let difference = sharpe_difference(&returns, &returns, &plan);
        assert_eq!(
            difference.interval(0.95),
            Some(Interval { confidence: 0.95, lower: 0.0, upper: 0.0 })
        );
        let other = sharpe_difference(&returns, &returns[1..], &plan);
        assert_eq!(other.interval(0.95), None, "of other days");
    }

    #[test]
    fn an_interval_is_undefined_where_the_statistic_is() {
        let plan = Resampling::Stationary(Stationary { mean_block: 2, resamples: 50, seed: 1 });
        for returns in [&[][..], &[0.01], &[0.01; 9]] {
            assert_eq!(sharpe_distribution(returns, &plan).interval(0.95), None, "{returns:?}");
        }
        let gains = distribution(&[0.01, 0.02, 0.03], &plan, crate::metrics::profit_factor);
        assert_eq!(gains.interval(0.95), None);
    }
}
