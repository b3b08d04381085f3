//! From a snapshot and files to what a backtest is made of.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use backtest::{
    Action, ActionKind, Bar, Forecast, History, KnownLabel, Market, Source, Strategy, Timeline,
    judged_forecasts,
    strategies::{Decision, Inputs, Needs, StrategyInfo},
};
use chrono::NaiveDate;
use domain::{AsOf, Digest, Label, LabelProbs, Ticker};
use indicatif::ProgressBar;
use lake::{CorporateAction, FeatureInfo, Kind, LabelConfig, PriceHistory, Snapshot};
use serde::Deserialize;

use super::question::Question;

/// Feature the consensus is ranked by.
const CONSENSUS_FEATURE: &str = "target_price_upside";

/// Every how many sessions the consensus is read.
const CONSENSUS_EVERY: usize = 5;

/// The market of a universe and what strategies need beside it.
pub(crate) struct Data {
    pub(crate) market: Market,
    snapshot: Digest,
    inputs: Inputs,
    labels: Vec<KnownLabel>,
    forecasts: Vec<(usize, NaiveDate, LabelProbs)>,
}

/// What is read of an answer.
#[derive(Debug, Deserialize)]
struct Answer {
    ticker: Ticker,
    as_of: AsOf,
    decision: AnswerDecision,
    receipt: Option<Receipt>,
}

#[derive(Debug, Deserialize)]
struct AnswerDecision {
    label: Label,
    probs: Option<LabelProbs>,
}

#[derive(Debug, Deserialize)]
struct Receipt {
    model: Option<String>,
}

impl Data {
    /// Reads prices, and what the strategies need.
    pub(crate) async fn load(
        question: &Question,
        strategies: &[&StrategyInfo],
        data_dir: &Path,
        progress: &ProgressBar,
    ) -> anyhow::Result<Self> {
        let needs = |needs: Needs| strategies.iter().any(|info| info.needs == needs);
        if needs(Needs::Decisions) && question.decisions.is_none() {
            bail!("strategy decisions follows a file: give --decisions FILE.jsonl");
        }
        progress.set_message(format!("reading universe {}", question.universe));
        let snapshot = Snapshot::open_universe(data_dir, &question.universe).await?;
        let market = market(&snapshot, snapshot.prices().await?)?;
        let mut data = Self {
            snapshot: snapshot.id(),
            inputs: Inputs { seed: question.seed, ..Inputs::default() },
            labels: Vec::new(),
            forecasts: Vec::new(),
            market,
        };
        if needs(Needs::Labels) || needs(Needs::Decisions) {
            data.read_labels(&snapshot).await?;
        }
        if needs(Needs::Consensus) {
            data.read_consensus(&snapshot, progress).await?;
        }
        if let Some(path) = question.decisions.as_deref().filter(|_| needs(Needs::Decisions)) {
            data.read_decisions(path, question.decision_days)?;
        }
        Ok(data)
    }

    async fn read_labels(&mut self, snapshot: &Snapshot) -> anyhow::Result<()> {
        let labels = snapshot.label_history(&LabelConfig::builtin()?).await?;
        let known = labels.iter().filter_map(|label| {
            let (session, known, name) =
                (label.session, label.known, self.market.position(&label.ticker)?);
            Some(KnownLabel { name, session, known, label: label.value })
        });
        self.labels = known.collect();
        let rows = labels.into_iter().map(|label| (label.ticker, label.known, label.value));
        self.inputs.labels = Some(Timeline::new(&self.market, rows).0);
        Ok(())
    }

    async fn read_consensus(
        &mut self,
        snapshot: &Snapshot,
        progress: &ProgressBar,
    ) -> anyhow::Result<()> {
        if snapshot.manifest().source(Kind::Estimates).is_none() {
            let universe = &snapshot.manifest().universe.id;
            bail!(
                "universe {universe} has no estimates of analysts: strategy consensus cannot be run on it"
            );
        }
        progress.set_message("reading the consensus");
        let feature = FeatureInfo::find(CONSENSUS_FEATURE)?;
        let scores = snapshot.feature_history(&feature, CONSENSUS_EVERY, progress).await?;
        let rows = scores.into_iter().map(|score| (score.ticker, score.known, score.value));
        let (scores, _) = Timeline::new(&self.market, rows);
        if scores.is_empty() {
            bail!("no price target of analysts can be set against a close as traded");
        }
        self.inputs.consensus = Some(scores);
        Ok(())
    }

    fn read_decisions(&mut self, path: &Path, days: u32) -> anyhow::Result<()> {
        let file = std::fs::File::open(path)
            .with_context(|| format!("cannot read decisions {}", path.display()))?;
        let (mut rows, mut model) = (Vec::new(), None);
        let mut seen: BTreeMap<(Ticker, AsOf), usize> = BTreeMap::new();
        for (number, line) in BufReader::new(file).lines().enumerate() {
            let place = || format!("{}:{}", path.display(), number + 1);
            let line = line.with_context(place)?;
            if line.trim().is_empty() {
                continue;
            }
            let answer: Answer = serde_json::from_str(&line).with_context(|| {
                format!("{}: is no answer of `r2r thesis --json` on one line", place())
            })?;
            let key = (answer.ticker.clone(), answer.as_of);
            if let Some(before) = seen.insert(key, number + 1) {
                bail!(
                    "{}: {} as of {} stands in line {before} too: leave one of them",
                    place(),
                    answer.ticker,
                    answer.as_of
                );
            }
            model = model.or(answer.receipt.and_then(|receipt| receipt.model));
            let date = answer.as_of.date();
            let decision = Decision { label: answer.decision.label, probs: answer.decision.probs };
            let name = self.market.position(&answer.ticker);
            self.forecasts
                .extend(name.zip(decision.probs).map(|(name, probs)| (name, date, probs)));
            rows.push((answer.ticker, date, decision));
        }
        let (decisions, strangers) = Timeline::new(&self.market, rows);
        if decisions.is_empty() {
            bail!("{} has no decision about a name of the universe", path.display());
        }
        if strangers > 0 {
            note_strangers(strangers, path);
        }
        let model = model.unwrap_or_else(|| "model".to_owned());
        self.inputs.decisions = Some((decisions, model, days));
        Ok(())
    }

    /// Makes a strategy.
    pub(crate) fn strategy(&self, info: &StrategyInfo) -> anyhow::Result<Box<dyn Strategy>> {
        let made = info.make(&self.inputs);
        made.with_context(|| format!("strategy {} lacks what it is made of", info.name))
    }

    /// Returns the forecasts of a model that can be judged.
    pub(crate) fn forecasts(&self, info: &StrategyInfo) -> Vec<Forecast> {
        match info.needs {
            Needs::Decisions => judged_forecasts(&self.forecasts, &self.labels),
            _ => Vec::new(),
        }
    }

    /// Returns the directory of what is derived from the snapshot.
    pub(crate) fn derived(&self, data_dir: &Path) -> PathBuf {
        data_dir.join("derived").join(self.snapshot.to_string())
    }
}

fn note_strangers(strangers: usize, path: &Path) {
    anstream::eprintln!(
        "r2r: {strangers} decisions of {} are about names outside the universe and were left out",
        path.display()
    );
}

fn market(snapshot: &Snapshot, prices: Vec<PriceHistory>) -> anyhow::Result<Market> {
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
