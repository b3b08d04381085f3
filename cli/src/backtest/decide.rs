//! Recommendations that a model writes for a backtest: a thesis for each name on each day of
//! decision. They are kept as they are made, so that a run that was stopped goes on, and
//! whoever asks the same again waits for none of them.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use backtest::{Config, Market, decision_days, strategies::Decision};
use domain::{AsOf, Ticker};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use inference::{
    EngineConfig, InferenceError, Priority, WorkerCommand, WriteError, WriteRequest, Writer, model,
};
use lake::Snapshot;
use study::{KeptDecisions, Recommendation, Recommendations};

use super::question::Question;
use crate::screen::progress_with_eta;

/// Time in which one thesis must be written.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Times a thesis is given to the engine, whose workers may die in it, and the time after
/// which another worker is there.
const ATTEMPTS: u32 = 3;
const RESTART: Duration = Duration::from_secs(1);

/// Has the model of a question recommend what its span decides on, but for what is kept in
/// `dir`.
pub(crate) async fn recommend(
    snapshot: &Snapshot,
    (market, config): (&Market, &Config),
    question: &Question,
    data_dir: &Path,
    dir: &Path,
) -> anyhow::Result<Recommendations> {
    let worker = WorkerCommand::current_exe()?;
    let model = model::locate(&question.model, &data_dir.join("models"), &worker)?;
    let trained_until = model.trained_until().cloned();
    let engine = EngineConfig::new(model, worker);
    let width = engine.context.batch_width();
    let writer = Writer::start(engine, Writer::DEFAULT_SAMPLING).await?;
    let receipt = writer.receipt(snapshot.id(), question.decision_seed);
    let mut kept = KeptDecisions::open(dir, &receipt)?;
    let days = decision_days(market, config)?;
    let asks = days.into_iter().flat_map(|(session, tickers)| {
        tickers.into_iter().map(move |ticker| (ticker.clone(), AsOf::end_of(session)))
    });
    let asks: Vec<(Ticker, AsOf)> = asks.collect();
    let missing: Vec<_> = asks.iter().filter(|(name, as_of)| !kept.has(name, *as_of)).collect();
    let bar = progress_with_eta((asks.len() - missing.len()) as u64, asks.len() as u64)?;
    bar.set_message(format!("{} decides; stopped, the same command goes on", receipt.model));
    let seed = question.decision_seed;
    let written = stream::iter(&missing).map(|ask| write(&writer, snapshot, ask, seed));
    let result = written
        .buffered(width)
        .try_for_each(|found| {
            bar.inc(1);
            std::future::ready(kept.keep(found).map_err(Into::into))
        })
        .await;
    bar.finish_and_clear();
    writer.engine().shutdown().await;
    result.with_context(|| format!("decisions so far are kept in {}", kept.path().display()))?;
    Ok(Recommendations { trained_until, ..kept.finish() })
}

async fn write(
    writer: &Writer,
    snapshot: &Snapshot,
    (ticker, as_of): &(Ticker, AsOf),
    seed: u64,
) -> anyhow::Result<Recommendation> {
    let read = snapshot.read(ticker, *as_of).await?;
    let attempt = async || {
        let admission = writer.engine().admit(Priority::Batch)?;
        let ask = WriteRequest { seed, admission, timeout: TIMEOUT, claims: None };
        writer.write(&read, ask).await
    };
    let mut attempts = ATTEMPTS;
    loop {
        attempts -= 1;
        match attempt().await {
            Ok(thesis) => {
                let (label, probs) = (thesis.decision.label, Some(thesis.decision.probs));
                let decision = Decision { label, probs };
                return Ok(Recommendation { ticker: ticker.clone(), as_of: *as_of, decision });
            }
            Err(WriteError::Inference(InferenceError::WorkerLost)) if attempts > 0 => {
                tokio::time::sleep(RESTART).await;
            }
            Err(error) => {
                return Err(error).with_context(|| format!("no thesis for {ticker} as of {as_of}"));
            }
        }
    }
}
