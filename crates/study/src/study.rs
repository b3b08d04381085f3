//! The market of a snapshot and what strategies need beside it.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use backtest::{
    Action, ActionKind, Backtest, Bar, Config, Forecast, History, KnownLabel, Market, Source,
    Strategy, Timeline, judged_forecasts,
    strategies::{Inputs, Needs, StrategyInfo},
};
use chrono::NaiveDate;
use domain::{Digest, Label};
use indicatif::ProgressBar;
use lake::{CorporateAction, FeatureInfo, Kind, LabelConfig, PriceHistory, Snapshot};

use crate::{Followed, StudyError};

/// Feature the consensus is ranked by.
const CONSENSUS_FEATURE: &str = "target_price_upside";

/// Every how many sessions the consensus is read.
const CONSENSUS_EVERY: usize = 5;

/// Sessions before the first decision where no start is given: seven years, to fit and to
/// look back on, but no more than a quarter of all.
const HISTORY_SESSIONS: usize = 7 * 252;

/// What backtests on a snapshot have in common. About 2 MB for the universe R20.
#[derive(Debug, Clone)]
pub struct Study {
    market: Market,
    snapshot: Digest,
    consensus: Option<Timeline<f64>>,
    labels: Vec<KnownLabel>,
    known_labels: Option<Timeline<Label>>,
}

impl Study {
    /// Reads the market of a snapshot, and the labels and estimates that strategies need.
    ///
    /// # Errors
    /// Fails when the snapshot cannot be read, is no market, or has no estimates where a
    /// strategy needs them.
    pub async fn read(
        snapshot: &Snapshot,
        needs: &[Needs],
        progress: &ProgressBar,
    ) -> Result<Self, StudyError> {
        let mut study = Self {
            market: market(snapshot, snapshot.prices().await?)?,
            snapshot: snapshot.id(),
            consensus: None,
            labels: Vec::new(),
            known_labels: None,
        };
        // Forecasts of a model are judged by labels.
        if needs.contains(&Needs::Labels) || needs.contains(&Needs::Decisions) {
            study.read_labels(snapshot).await?;
        }
        if needs.contains(&Needs::Consensus) {
            study.read_consensus(snapshot, progress).await?;
        }
        Ok(study)
    }

    async fn read_labels(&mut self, snapshot: &Snapshot) -> Result<(), StudyError> {
        let labels = snapshot.label_history(&LabelConfig::builtin()?).await?;
        let known = labels.iter().filter_map(|label| {
            let (session, known, name) =
                (label.session, label.known, self.market.position(&label.ticker)?);
            Some(KnownLabel { name, session, known, label: label.value })
        });
        self.labels = known.collect();
        let rows = labels.into_iter().map(|label| (label.ticker, label.known, label.value));
        self.known_labels = Some(Timeline::new(&self.market, rows).0);
        Ok(())
    }

    async fn read_consensus(
        &mut self,
        snapshot: &Snapshot,
        progress: &ProgressBar,
    ) -> Result<(), StudyError> {
        if snapshot.manifest().source(Kind::Estimates).is_none() {
            return Err(StudyError::NoEstimates(snapshot.manifest().universe.id.clone()));
        }
        progress.set_message("reading the consensus");
        let feature = FeatureInfo::find(CONSENSUS_FEATURE)?;
        let scores = snapshot.feature_history(&feature, CONSENSUS_EVERY, progress).await?;
        let rows = scores.into_iter().map(|score| (score.ticker, score.known, score.value));
        let (scores, _) = Timeline::new(&self.market, rows);
        if scores.is_empty() {
            return Err(StudyError::NoTargets);
        }
        self.consensus = Some(scores);
        Ok(())
    }

    /// Returns the market.
    #[must_use]
    pub const fn market(&self) -> &Market {
        &self.market
    }

    /// Returns the market alone.
    #[must_use]
    pub fn into_market(self) -> Market {
        self.market
    }

    /// Returns the directory of what is derived from the snapshot, such as kept decisions.
    #[must_use]
    pub fn derived(&self, data_dir: &Path) -> PathBuf {
        data_dir.join("derived").join(self.snapshot.to_string())
    }

    /// Makes a strategy; one that follows a model is given its recommendations.
    ///
    /// # Errors
    /// Fails where what it needs was not read or given.
    pub fn strategy(
        &self,
        info: &StrategyInfo,
        seed: u64,
        followed: Option<&Followed>,
    ) -> Result<Box<dyn Strategy>, StudyError> {
        let followed = followed.filter(|_| info.needs == Needs::Decisions);
        let inputs = Inputs {
            seed,
            consensus: self.consensus.clone().filter(|_| info.needs == Needs::Consensus),
            labels: self.known_labels.clone().filter(|_| info.needs == Needs::Labels),
            decisions: followed.map(Followed::inputs),
        };
        info.make(&inputs).ok_or_else(|| match info.needs {
            Needs::Consensus => StudyError::NoEstimates(self.market.source().universe.clone()),
            _ => StudyError::NoDecisions(info.name, "give a file of them, or have them written"),
        })
    }

    /// Returns the forecasts of a model within a span that can be judged by labels known at
    /// its end.
    #[must_use]
    pub fn forecasts(&self, followed: &Followed, config: &Config) -> Vec<Forecast> {
        let (sessions, span) = (self.market.sessions(), config.start..=config.end);
        judged_forecasts(followed.forecasts(), &self.labels, sessions, span)
    }
}

/// What is said of every backtest of a rule; those of a model carry the disclaimer of theses.
const DISCLAIMER: &str = "Decision support for professional research, computed from past records; \
    what was is no promise of what will be. Not investment advice, not an offer, and no order is \
    placed. Verify before acting.";

/// Returns the disclaimer of a result that shows these strategies.
#[must_use]
pub fn disclaimer(strategies: [&StrategyInfo; 2]) -> &'static str {
    let is_model = |info: &StrategyInfo| info.needs == Needs::Decisions;
    if strategies.into_iter().any(is_model) { contract::DISCLAIMER } else { DISCLAIMER }
}

/// Adds to the bias of a run what the model that it follows, if it does, had seen.
pub fn warn(run: &mut Backtest, info: &StrategyInfo, followed: Option<&Followed>) {
    if let Some(followed) = followed.filter(|_| info.needs == Needs::Decisions) {
        let caution = followed.caution(&run.provenance.universe);
        run.provenance.bias.push_str(&caution);
    }
}

/// Returns the span of a question, its open ends filled: from after seven years of sessions,
/// or a quarter of them where there are fewer, to the last one.
#[must_use]
pub fn span(
    market: &Market,
    start: Option<NaiveDate>,
    end: Option<NaiveDate>,
) -> (NaiveDate, NaiveDate) {
    let sessions = market.sessions();
    let first = sessions.get(HISTORY_SESSIONS.min(sessions.len() / 4));
    let first = start.or(first.copied()).unwrap_or_default();
    // A start behind all sessions is outside the data, not behind an end nobody gave.
    let last = sessions.last().map(|last| first.max(*last));
    (first, end.or(last).unwrap_or(first))
}

fn market(snapshot: &Snapshot, prices: Vec<PriceHistory>) -> Result<Market, StudyError> {
    let universe = &snapshot.manifest().universe;
    let source = Source {
        universe: universe.id.clone(),
        snapshot: Some(snapshot.id()),
        bias: [universe.bias.clone(), unrecorded(&prices)].concat(),
    };
    let histories = prices.into_iter().map(history).collect();
    Ok(Market::new(source, histories)?)
}

/// Ratios of splits that are usual; what is near to one of them may have been one, and so may
/// what is beyond them.
const SPLITS: [f64; 4] = [1.5, 2.0, 3.0, 0.5];
const SPLIT_TOLERANCE: f64 = 0.04;
const BEYOND: f64 = 3.8;
/// Names that are told.
const TOLD_MAX: usize = 5;

/// Says what closes as traded lack, where they do: without records of splits and dividends,
/// both are losses of whoever holds the shares. Empty where nothing is missing.
fn unrecorded(prices: &[PriceHistory]) -> String {
    let raw = || prices.iter().filter(|prices| prices.is_raw);
    let is_dividend = |action: &CorporateAction| matches!(action, CorporateAction::Dividend(..));
    let has_dividends = raw().any(|prices| prices.actions.iter().any(is_dividend));
    let mut told = String::new();
    if raw().next().is_some() && !has_dividends {
        told.push_str(" Closes are as traded, and there is no record of any dividend.");
    }
    let jumps: Vec<String> = raw().flat_map(jumps).collect();
    if !jumps.is_empty() {
        let shown = jumps.iter().take(TOLD_MAX).cloned().collect::<Vec<_>>().join(", ");
        let more = if jumps.len() > TOLD_MAX { ", ..." } else { "" };
        let _ = write!(
            told,
            " {} closes moved as at a split of which there is no record: {shown}{more}.",
            jumps.len()
        );
    }
    told
}

/// Returns the sessions at which a close moved by the ratio of a split, without one.
fn jumps(prices: &PriceHistory) -> impl Iterator<Item = String> + '_ {
    let has_split = |pair: &[lake::PricedSession]| {
        prices.actions.iter().any(|action| match action {
            CorporateAction::Split(ex_date, _) => {
                *ex_date > pair[0].session && *ex_date <= pair[1].session
            }
            CorporateAction::Dividend(..) => false,
        })
    };
    let pairs = prices.sessions.windows(2).filter(move |pair| {
        let ratio = pair[0].close / pair[1].close;
        let is_near = |split: &f64| (ratio / split - 1.0).abs() < SPLIT_TOLERANCE;
        let is_beyond = !(1.0 / BEYOND..=BEYOND).contains(&ratio);
        (is_beyond || SPLITS.iter().any(is_near)) && !has_split(pair)
    });
    pairs.map(|pair| format!("{} {}", prices.ticker, pair[1].session))
}

fn history(prices: PriceHistory) -> History {
    let bar = |session: lake::PricedSession| Bar {
        session: session.session,
        close: session.close,
        adjusted: session.adjusted,
        volume: session.volume,
    };
    let action = |action: CorporateAction| match action {
        CorporateAction::Split(ex_date, ratio) => {
            Action { ex_date, kind: ActionKind::Split(ratio) }
        }
        CorporateAction::Dividend(ex_date, value) => {
            Action { ex_date, kind: ActionKind::Dividend(value) }
        }
    };
    History {
        ticker: prices.ticker,
        sector: None,
        half_spread_bps: None,
        bars: prices.sessions.into_iter().map(bar).collect(),
        actions: prices.actions.into_iter().map(action).collect(),
    }
}

#[cfg(test)]
mod tests {
    use lake::PricedSession;

    use super::*;

    #[test]
    fn what_closes_as_traded_lack_is_said() {
        let day = |day| NaiveDate::from_ymd_opt(2010, 6, day).unwrap_or_default();
        let history = |closes: [f64; 3], is_raw, actions| {
            let session = |(i, close): (u32, f64)| PricedSession {
                session: day(i),
                close,
                adjusted: close,
                volume: None,
            };
            let sessions = (1..).zip(closes).map(session).collect();
            let ticker = "GIS".parse().expect("a ticker");
            vec![PriceHistory { ticker, sessions, is_raw, actions }]
        };
        let (halved, dividend) = ([75.14, 75.1, 37.5], CorporateAction::Dividend(day(2), 0.1));
        assert_eq!(unrecorded(&history(halved, false, vec![])), "", "adjusted closes just fell");
        let told = unrecorded(&history(halved, true, vec![]));
        assert!(told.contains("no record of any dividend"), "{told}");
        assert!(told.contains("1 closes moved") && told.contains("GIS 2010-06-03"), "{told}");
        let split = CorporateAction::Split(day(3), 2.0);
        assert_eq!(unrecorded(&history(halved, true, vec![dividend, split])), "");
        assert_eq!(unrecorded(&history([10.0, 7.0, 8.0], true, vec![dividend])), "");
        let told = unrecorded(&history([100.0, 10.1, 10.0], true, vec![dividend]));
        assert!(told.contains("GIS 2010-06-02"), "{told}");
    }
}
