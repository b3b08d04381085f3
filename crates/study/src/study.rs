//! The market of a snapshot and what strategies need beside it.

use std::path::{Path, PathBuf};

use backtest::{
    Action, ActionKind, Bar, Forecast, History, KnownLabel, Market, Source, Strategy, Timeline,
    judged_forecasts,
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

    /// Returns the forecasts of a model that can be judged by labels.
    #[must_use]
    pub fn forecasts(&self, followed: &Followed) -> Vec<Forecast> {
        judged_forecasts(followed.forecasts(), &self.labels)
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
    (first, end.or(sessions.last().copied()).unwrap_or(first))
}

fn market(snapshot: &Snapshot, prices: Vec<PriceHistory>) -> Result<Market, StudyError> {
    let universe = &snapshot.manifest().universe;
    let source = Source {
        universe: universe.id.clone(),
        snapshot: Some(snapshot.id()),
        bias: universe.bias.clone(),
    };
    let histories = prices.into_iter().map(history).collect();
    Ok(Market::new(source, histories)?)
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
