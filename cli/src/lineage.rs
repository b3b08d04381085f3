//! `r2r data lineage`: where a feature, a read's evidence or a thesis comes from.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::{Args as ClapArgs, ValueEnum};
use domain::{AsOf, Digest, Section, Ticker};
use lake::{Citation, DEFAULT_UNIVERSE, LakeError, Lineage, Snapshot, SnapshotStore};
use serde_json::Value;

use crate::screen::{self, say};

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  r2r data lineage\n  \
    r2r data lineage --feature gross_margin\n  \
    r2r data lineage --ticker AAPL --as-of 2022-09-30\n  \
    r2r thesis AAPL --as-of 2022-09-30 --json > aapl.json && r2r data lineage --thesis aapl.json\n  \
    r2r data lineage --feature gross_margin --format dot | dot -Tsvg > gross_margin.svg\n\n\
    Each line is made of the lines below it: claim, evidence, feature, view, table, file of the\n\
    snapshot, file in the package, package with digest and licence, entry of the allowlist. What\n\
    a feature reads is asked of the plan that computes it. A record below a number is the one\n\
    that became known last among what the plan reads, where there is one such.")]
pub(crate) struct Args {
    /// Feature by name; may be repeated. All features and kinds of records when nothing else
    /// is asked for.
    #[arg(long = "feature", conflicts_with_all = ["ticker", "thesis"])]
    features: Vec<String>,
    /// Ticker whose evidence is followed.
    #[arg(long, conflicts_with = "thesis")]
    ticker: Option<Ticker>,
    /// Date of the evidence, YYYY-MM-DD; the snapshot's last by default.
    #[arg(long, requires = "ticker")]
    as_of: Option<AsOf>,
    /// An answer of the API, or of `r2r thesis --json`; followed in the snapshot its receipt
    /// names.
    #[arg(long, value_name = "FILE")]
    thesis: Option<PathBuf>,
    /// Universe whose current snapshot is followed.
    #[arg(long, default_value = DEFAULT_UNIVERSE, conflicts_with = "thesis")]
    universe: String,
    /// How the graph is printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// A tree.
    Text,
    /// Nodes with their details, and edges.
    Json,
    /// For Graphviz.
    Dot,
}

pub(crate) async fn run(args: &Args, data_dir: &Path) -> anyhow::Result<()> {
    let lineage = match (&args.ticker, &args.thesis) {
        (Some(ticker), _) => {
            let snapshot = Snapshot::open_universe(data_dir, &args.universe).await?;
            let last = snapshot.range().map(|(_, last)| AsOf::end_of(last));
            let as_of = args.as_of.or(last).context("the snapshot has no closes")?;
            Lineage::of_read(&snapshot, &snapshot.read(ticker, as_of).await?).await?
        }
        (None, Some(path)) => of_thesis(path, data_dir).await?,
        (None, None) => {
            let store = SnapshotStore::local(data_dir);
            let manifest = store.manifest(store.current(&args.universe).await?).await?;
            Lineage::of_features(&manifest, &args.features).await?
        }
    };
    match args.format {
        Format::Text => screen::print(lineage.tree()),
        Format::Dot => screen::print(lineage.dot()),
        Format::Json => {
            say!("{}", serde_json::to_string_pretty(&lineage.json())?);
            Ok(())
        }
    }
}

async fn of_thesis(path: &Path, data_dir: &Path) -> anyhow::Result<Lineage> {
    let file = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {file}"))?;
    let answer: Value =
        serde_json::from_str(&text).with_context(|| format!("{file} is no JSON"))?;
    contract::Schema::compile()?
        .validate(&answer)
        .with_context(|| format!("{file} is no answer of this program"))?;
    let field = |pointer: &str| answer.pointer(pointer).cloned().unwrap_or_default();
    let id: Digest = serde_json::from_value(field("/receipt/snapshot_id"))?;
    let store = SnapshotStore::local(data_dir);
    if let Err(LakeError::NoSnapshot { .. }) = store.resolve(&id.to_string()).await {
        let refs = store.refs().await?;
        let there: Vec<String> =
            refs.iter().map(|(name, id)| format!("{name} {}", id.short())).collect();
        bail!(
            "{file}: receipt.snapshot_id {} is not in {} ({}): copy it there with `r2r data \
             snapshot {} --store URL --to {}`",
            id.short(),
            store.url(),
            there.join(", "),
            id.short(),
            store.url()
        );
    }
    let snapshot = Snapshot::load(&store, id).await?;
    let ticker: Ticker = serde_json::from_value(field("/ticker"))?;
    let as_of: AsOf = serde_json::from_value(field("/as_of"))?;
    let citations: Vec<Citation> = serde_json::from_value(field("/thesis/evidence"))?;
    let read = snapshot.read(&ticker, as_of).await?;
    Lineage::of_thesis(&snapshot, &read, &claims(&answer), &citations)
        .await
        .with_context(|| file.to_string())
}

/// Returns the texts of all claims with their ids.
fn claims(answer: &Value) -> Vec<(String, String)> {
    let of_section = |section: Section| {
        let claims = answer["thesis"][section.key()].as_array().cloned().unwrap_or_default();
        claims.into_iter().enumerate().map(move |(i, claim)| {
            let text = claim.as_str().unwrap_or_default().to_owned();
            (format!("{}{}", section.letter(), i + 1), text)
        })
    };
    Section::ALL.into_iter().flat_map(of_section).collect()
}
