//! Which contexts a corpus is made of: names and dates of snapshots, and their labels.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail, ensure};
use chrono::NaiveDate;
use contract::rewards::clip_z;
use domain::{AsOf, Label, Ticker};
use lake::{Kind, LabelConfig, Snapshot, Target};

use super::split::{Calendar, Part};
use crate::{
    config::{DataSource, RunConfig},
    teacher::draw,
};

/// Source id of made-up records.
const SYNTHETIC: &str = "synthetic";

/// A context that becomes examples.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ContextRef {
    /// Index of the source.
    pub(crate) source: usize,
    /// Part its date belongs to.
    pub(crate) part: Part,
    /// Name.
    pub(crate) ticker: Ticker,
    /// Date.
    pub(crate) as_of: AsOf,
    /// The realised label and its clipped z.
    pub(crate) label: Option<(Label, f64)>,
}

/// An opened source.
#[derive(Debug)]
pub(crate) struct OpenSource {
    /// Id of the universe, as its snapshot spells it.
    pub(crate) universe: String,
    /// The snapshot.
    pub(crate) snapshot: Snapshot,
    /// Index of the calendar that divides its dates.
    pub(crate) calendar: usize,
    targets: Vec<(Ticker, Vec<Target>)>,
    every: usize,
}

/// The sources of a corpus and the calendars that divide their dates. All sources of real
/// records share one, so that no date of one is trained on that another is tested on; a
/// made-up market knows of no other and has its own.
#[derive(Debug)]
pub(crate) struct Sources {
    /// The sources, in the order of the configuration.
    pub(crate) open: Vec<OpenSource>,
    /// The calendars.
    pub(crate) calendars: Vec<Calendar>,
}

impl Sources {
    /// Opens the current snapshot of each universe and labels its sessions.
    pub(crate) async fn open(
        config: &RunConfig,
        data_dir: &std::path::Path,
    ) -> anyhow::Result<Self> {
        let labels = LabelConfig { scheme: config.data.label_scheme, ..LabelConfig::builtin()? };
        let mut open: Vec<OpenSource> = Vec::new();
        let mut groups: Vec<(bool, Vec<usize>)> = Vec::new();
        for (i, source) in config.data.sources.iter().enumerate() {
            let snapshot = Snapshot::open_universe(data_dir, &source.universe)
                .await
                .with_context(|| format!("cannot open universe {}", source.universe))?;
            let is_made_up = is_made_up(&snapshot);
            let shared = groups.iter().position(|(made_up, _)| !made_up && !is_made_up);
            let calendar = shared.unwrap_or(groups.len());
            match groups.get_mut(calendar) {
                Some((_, members)) => members.push(i),
                None => groups.push((is_made_up, vec![i])),
            }
            let targets = targets(&snapshot, source, &labels).await?;
            let universe = snapshot.manifest().universe.id.clone();
            let every = source.every as usize;
            open.push(OpenSource { universe, snapshot, calendar, targets, every });
        }
        let calendar = |(_, members): &(bool, Vec<usize>)| {
            let targets = members.iter().flat_map(|i| &open[*i].targets);
            let targets: Vec<&Target> = targets.flat_map(|(_, targets)| targets).collect();
            let dates: BTreeSet<NaiveDate> = targets.iter().map(|target| target.session).collect();
            let labelled = targets.iter().filter(|target| target.label.is_some());
            let names: Vec<&str> = members.iter().map(|i| open[*i].universe.as_str()).collect();
            let last = labelled.map(|target| target.session).max();
            let last = last.with_context(|| format!("{} has no labels", names.join(", ")))?;
            Calendar::new(dates, last, &config.split)
                .with_context(|| format!("cannot divide the dates of {}", names.join(", ")))
        };
        let calendars = groups.iter().map(calendar).collect::<anyhow::Result<_>>()?;
        Ok(Self { open, calendars })
    }

    /// Returns the contexts: training ones in an order drawn by the seed, so that the first
    /// of them are a fair sample, the others by date and name.
    ///
    /// # Errors
    /// Fails where a label was not known before the next part begins, which the gaps
    /// exclude.
    pub(crate) fn contexts(&self, seed: u64) -> anyhow::Result<Vec<ContextRef>> {
        let mut contexts = Vec::new();
        for (i, source) in self.open.iter().enumerate() {
            let calendar = &self.calendars[source.calendar];
            for (turn, (ticker, targets)) in source.targets.iter().enumerate() {
                for (place, target) in targets.iter().enumerate() {
                    if (place + turn) % source.every != 0 {
                        continue;
                    }
                    let Some(part) = calendar.part(target.session) else { continue };
                    check_gap(calendar, part, ticker, target)?;
                    contexts.push(ContextRef {
                        source: i,
                        part,
                        ticker: ticker.clone(),
                        as_of: AsOf::end_of(target.session),
                        label: target.label.map(|row| (row.label, clip_z(row.z))),
                    });
                }
            }
        }
        contexts.sort_by_cached_key(|context| {
            let ContextRef { source, part, ticker, as_of, .. } = context;
            let place = format!("{seed}\0{source}\0{ticker}\0{as_of}");
            let drawn = if *part == Part::Train { draw(&place) } else { 0 };
            (*part, drawn, *as_of, *source, ticker.clone())
        });
        ensure!(!contexts.is_empty(), "no context: widen data.sources or lower `every`");
        Ok(contexts)
    }
}

fn check_gap(
    calendar: &Calendar,
    part: Part,
    ticker: &Ticker,
    target: &Target,
) -> anyhow::Result<()> {
    let border = calendar.border(part).zip(target.known_at);
    if let Some((border, known_at)) = border
        && known_at.date_naive() >= border
    {
        bail!(
            "the label of {ticker} at {} became known on {known_at}, not before {border} where the \
             next part begins: raise split.purged_size",
            target.session
        );
    }
    Ok(())
}

async fn targets(
    snapshot: &Snapshot,
    source: &DataSource,
    labels: &LabelConfig,
) -> anyhow::Result<Vec<(Ticker, Vec<Target>)>> {
    let known: Vec<&Ticker> = snapshot.tickers().iter().map(|info| &info.ticker).collect();
    if let Some(unknown) = source.tickers.iter().find(|ticker| !known.contains(ticker)) {
        let known: Vec<&str> = known.iter().map(|ticker| ticker.as_str()).collect();
        bail!("{} has no ticker {unknown}: it has {}", source.universe, known.join(", "));
    }
    let is_inside = |target: &Target| {
        source.from.is_none_or(|from| target.session >= from)
            && source.to.is_none_or(|to| target.session <= to)
    };
    let is_taken = |ticker: &Ticker| source.tickers.is_empty() || source.tickers.contains(ticker);
    let mut found = Vec::new();
    for (ticker, mut targets) in snapshot.targets(labels).await? {
        if is_taken(&ticker) && known.contains(&&ticker) {
            targets.retain(is_inside);
            found.push((ticker, targets));
        }
    }
    Ok(found)
}

/// Tells whether the prices are of a made-up market.
fn is_made_up(snapshot: &Snapshot) -> bool {
    let mut bars =
        snapshot.manifest().data_sources.iter().filter(|file| file.source_type == Kind::Bars);
    bars.all(|file| file.source_id == SYNTHETIC)
}
