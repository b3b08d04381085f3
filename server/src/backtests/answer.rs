//! The answer to a question: everything it says, and what each number means.

use backtest::{
    Backtest, Coverage, Day, Detail, Evaluation, Judge, Provenance, Trade, WalkForward,
    evaluate_while,
    metrics::{Definition, drawdowns},
    run,
    strategies::{Needs, StrategyInfo},
    sweep::{TestBlock, test_blocks},
};
use bytes::Bytes;
use chrono::NaiveDate;
use domain::Ticker;
use serde::Serialize;
use study::{Followed, Study, StudyError};

use super::question::{Question, refused};
use crate::problem::ApiError;

#[derive(Debug, Serialize)]
struct Answer<'a> {
    provenance: &'a Provenance,
    disclaimer: &'static str,
    /// How much of what it was asked the strategy had an opinion of; none for a rule.
    coverage: Option<Coverage>,
    evaluation: &'a Evaluation,
    /// What each metric of the evaluation means.
    definitions: Vec<&'static Definition>,
    /// Costs and income of all sessions, in the currency of prices.
    totals: Day,
    trades: usize,
    walk_forward: Blocks,
    /// With `detail=full`.
    #[serde(skip_serializing_if = "Option::is_none")]
    full: Option<Full<'a>>,
}

/// What was made in the test block of each fold.
#[derive(Debug, Serialize)]
struct Blocks {
    #[serde(flatten)]
    sizes: WalkForward,
    test_blocks: Vec<TestBlock>,
}

/// Series have a value for each session.
#[derive(Debug, Serialize)]
struct Full<'a> {
    tickers: &'a [Ticker],
    sessions: &'a [NaiveDate],
    equity: &'a [f64],
    returns: &'a [f64],
    drawdown: Option<Vec<f64>>,
    days: &'a [Day],
    trades: &'a [Trade],
    baseline_equity: Option<&'a [f64]>,
}

/// Answers a question; none where `go_on` said to stop.
pub(super) fn answer(
    study: &Study,
    followed: Option<&Followed>,
    question: &Question,
    go_on: &dyn Fn(usize, usize) -> bool,
) -> Result<Option<Bytes>, ApiError> {
    let Question { strategy, baseline, config, .. } = question;
    let of = |info: &StrategyInfo, detail| {
        let mut strategy = study.strategy(info, config.seed, followed).map_err(lacking)?;
        let mut found = run(study.market(), strategy.as_mut(), config, detail).map_err(refused)?;
        study::warn(&mut found, info, followed);
        Ok::<_, ApiError>(found)
    };
    let own = of(strategy, Detail::Full)?;
    let other = match strategy.name == baseline.name {
        true => None,
        false => Some(of(baseline, Detail::Equity)?),
    };
    let judge = Judge::new(question.resamples, config.seed);
    let followed = followed.filter(|_| strategy.needs == Needs::Decisions);
    let forecasts = followed.map(|followed| study.forecasts(followed, config)).unwrap_or_default();
    let evaluation = evaluate_while(&own, other.as_ref(), &forecasts, &judge, go_on);
    let Some(evaluation) = evaluation else { return Ok(None) };
    let answer = Answer {
        provenance: &own.provenance,
        disclaimer: study::disclaimer([strategy, baseline]),
        coverage: own.coverage,
        definitions: evaluation.estimates.iter().map(|e| e.metric.definition()).collect(),
        evaluation: &evaluation,
        totals: own.totals(),
        trades: own.trades.len(),
        walk_forward: Blocks {
            sizes: question.sizes,
            test_blocks: test_blocks(&own, &question.folds),
        },
        full: question.is_full.then(|| full(&own, other.as_ref())),
    };
    let bytes = serde_json::to_vec(&answer);
    let bytes = bytes.map_err(|_| ApiError::Internal("a backtest does not serialise"))?;
    Ok(Some(bytes.into()))
}

fn full<'a>(own: &'a Backtest, other: Option<&'a Backtest>) -> Full<'a> {
    Full {
        tickers: &own.tickers,
        sessions: &own.sessions,
        equity: &own.equity,
        returns: &own.returns,
        drawdown: drawdowns(&own.returns),
        days: &own.days,
        trades: &own.trades,
        baseline_equity: other.map(|other| other.equity.as_slice()),
    }
}

/// What a strategy lacks is the asker's choice of it; anything else is inside.
pub(super) fn lacking(error: StudyError) -> ApiError {
    match error {
        StudyError::NoEstimates(_) | StudyError::NoTargets | StudyError::NoDecisions(..) => {
            ApiError::Parameter { name: "strategy".to_owned(), detail: error.to_string() }
        }
        StudyError::Backtest(error) => refused(error),
        other => ApiError::Backtest(other),
    }
}
