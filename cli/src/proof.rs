//! `r2r data prove-no-leak`: changes the future and looks whether anything moves.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use clap::Args as ClapArgs;
use domain::{AsOf, AsOfRead, Ticker};
use lake::{DEFAULT_UNIVERSE, FeatureInfo, LeakProof, Snapshot};

use crate::screen::{progress, say};

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  r2r data prove-no-leak\n  \
    r2r data prove-no-leak --tickers AAPL,KO --as-of 2015-06-30,2022-09-30 --cases 5\n  \
    r2r data prove-no-leak --feature my_feature.sql\n\n\
    Every record known after the date is changed in every column, deleted or doubled, and new\n\
    ones come in. The features, the evidence, the prompt and the history of every series until\n\
    the date must not change by a byte. Exit code 1, with what moved, when one does.")]
pub(crate) struct Args {
    /// Tickers, separated by commas; five of the universe where absent.
    #[arg(long, value_delimiter = ',')]
    tickers: Vec<Ticker>,
    /// Dates, separated by commas; spread over each ticker's data where absent.
    #[arg(long, value_delimiter = ',')]
    as_of: Vec<AsOf>,
    /// Futures that are tried at each ticker and date.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    cases: u64,
    /// Seed of the first future.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// A feature file to prove before it is added; may be repeated.
    #[arg(long = "feature")]
    features: Vec<PathBuf>,
    /// Universe whose current snapshot is read.
    #[arg(long, default_value = DEFAULT_UNIVERSE)]
    universe: String,
}

pub(crate) async fn run(args: &Args, data_dir: &Path) -> anyhow::Result<()> {
    let snapshot = Snapshot::open_universe(data_dir, &args.universe).await?;
    let mut further = Vec::new();
    for path in &args.features {
        further.extend(FeatureInfo::load(path)?);
    }
    let mut unseen: BTreeSet<String> = further.iter().map(|info| info.name.clone()).collect();
    let proof = LeakProof::new(&snapshot, further).await?;
    let pairs = pairs(args, &snapshot)?;
    let progress = progress()?;
    progress.set_length(pairs.len() as u64 * args.cases);
    let mut silent = 0;
    for (ticker, as_of) in &pairs {
        silent += usize::from(snapshot.read(ticker, *as_of).await.is_err());
        for name in proof.defined(ticker, *as_of).await? {
            unseen.remove(&name);
        }
        for case in 0..args.cases {
            progress.set_message(format!("{ticker} as of {as_of}"));
            let seed = args.seed.wrapping_add(case);
            let leak = proof.case(ticker, *as_of, seed, render).await?;
            progress.inc(1);
            if let Some(leak) = leak {
                progress.finish_and_clear();
                anyhow::bail!(
                    "LEAK: {} of {ticker} as of {as_of} moved with the future (seed {seed}): {}",
                    leak.what,
                    leak.detail
                );
            }
        }
    }
    progress.finish_and_clear();
    if let Some(name) = unseen.first() {
        anyhow::bail!(
            "nothing is proven of {name}: it has no value at any of the {} tickers and dates that were \
             tried; give --universe, --tickers or --as-of where it has one",
            pairs.len()
        );
    }
    say!(
        "no leak: {} futures at {} tickers and dates of universe {} moved nothing (snapshot {})",
        pairs.len() as u64 * args.cases,
        pairs.len(),
        snapshot.manifest().universe.id,
        snapshot.id()
    );
    if silent > 0 {
        say!(
            "at {silent} of them nothing speaks to some section, so that no thesis can be read: \
             their features were compared, and there are no prompt and evidence"
        );
    }
    Ok(())
}

fn pairs(args: &Args, snapshot: &Snapshot) -> anyhow::Result<Vec<(Ticker, AsOf)>> {
    let known = snapshot.tickers();
    let universe = &snapshot.manifest().universe.id;
    if let Some(unknown) = args.tickers.iter().find(|t| known.iter().all(|k| k.ticker != **t)) {
        anyhow::bail!("ticker {unknown} has no closes in universe {universe}");
    }
    if known.is_empty() {
        anyhow::bail!("universe {universe} has no closes: nothing can be proven of it");
    }
    let tickers: Vec<Ticker> = if args.tickers.is_empty() {
        let step = known.len().div_ceil(5).max(1);
        known.iter().step_by(step).map(|info| info.ticker.clone()).collect()
    } else {
        args.tickers.clone()
    };
    let mut pairs = Vec::new();
    for ticker in tickers {
        if args.as_of.is_empty() {
            let Some(info) = known.iter().find(|info| info.ticker == ticker) else { continue };
            let days = (info.last - info.first).num_days() as u64;
            let dates = [20, 50, 90, 100].map(|percent| days * percent / 100);
            let dates = dates.map(|day| AsOf::end_of(info.first + chrono::Days::new(day)));
            pairs.extend(dates.map(|as_of| (ticker.clone(), as_of)));
        } else {
            pairs.extend(args.as_of.iter().map(|as_of| (ticker.clone(), *as_of)));
        }
    }
    Ok(pairs)
}

/// What must not move: the frame and the catalogue, and what the model would read of them.
fn render(read: &AsOfRead) -> String {
    let prompt = contract::render(read);
    let read = serde_json::to_string(read).unwrap_or_default();
    format!("{read}\n{}\n{}", prompt.day, prompt.user)
}
