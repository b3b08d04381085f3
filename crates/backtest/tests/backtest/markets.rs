//! Markets made by hand and by chance.

use backtest::{Action, ActionKind, Bar, Choice, Frame, History, Market, Source, Strategy};
use chrono::{Days, NaiveDate};
use proptest::{prelude::*, strategy::Strategy as _};

pub(crate) const START: NaiveDate = NaiveDate::from_ymd_opt(2001, 1, 1).unwrap();

pub(crate) fn day(row: usize) -> NaiveDate {
    START + Days::new(row as u64)
}

pub(crate) fn source() -> Source {
    Source { universe: "TEST".to_owned(), snapshot: None, bias: "made by hand".to_owned() }
}

/// A name with a close on each day; 0 stands for a day without a session.
pub(crate) fn name(ticker: &str, closes: &[f64]) -> History {
    let bar = |(row, close): (usize, &f64)| Bar {
        session: day(row),
        close: *close,
        adjusted: *close,
        volume: None,
    };
    let has_session = |(_, close): &(usize, &f64)| **close > 0.0;
    History {
        ticker: ticker.parse().unwrap(),
        sector: None,
        half_spread_bps: None,
        bars: closes.iter().enumerate().filter(has_session).map(bar).collect(),
        actions: Vec::new(),
    }
}

/// The same number of shares traded every day.
pub(crate) fn with_volume(mut history: History, volume: f64) -> History {
    history.bars.iter_mut().for_each(|bar| bar.volume = Some(volume));
    history
}

pub(crate) fn with_action(mut history: History, row: usize, kind: ActionKind) -> History {
    history.actions.push(Action { ex_date: day(row), kind });
    history
}

pub(crate) fn market(histories: Vec<History>) -> Market {
    Market::new(source(), histories).unwrap()
}

/// Weights that change from decision to decision by a rule of prices and dates: as good as
/// any strategy to test books with.
pub(crate) struct Hashed {
    pub(crate) seed: u64,
    /// The sum of the sizes of all weights.
    pub(crate) gross: f64,
    pub(crate) is_long_only: bool,
}

impl Strategy for Hashed {
    fn name(&self) -> String {
        format!("hashed({})", self.seed)
    }

    fn decide(&mut self, frame: &Frame<'_>, weights: &mut [f64]) -> Choice {
        let mut state = self.seed;
        for (name, weight) in weights.iter_mut().enumerate() {
            let close = frame.close(name, 0).unwrap_or(0.0);
            // The steps of splitmix64.
            state = state.wrapping_add(close.to_bits()).wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let unit = ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
            *weight = if self.is_long_only { unit } else { 2.0 * unit - 1.0 };
        }
        let sum: f64 = weights.iter().map(|weight| weight.abs()).sum();
        weights.iter_mut().for_each(|weight| *weight *= self.gross / sum.max(1e-9));
        Choice::Rebalance
    }
}

/// The weights written down for each decision; what was written last holds on.
pub(crate) struct Scripted(pub(crate) Vec<Vec<f64>>, pub(crate) usize);

impl Scripted {
    pub(crate) fn always(weights: &[f64]) -> Self {
        Self(vec![weights.to_vec()], 0)
    }
}

impl Strategy for Scripted {
    fn name(&self) -> String {
        "scripted".to_owned()
    }

    fn decide(&mut self, _: &Frame<'_>, weights: &mut [f64]) -> Choice {
        weights.copy_from_slice(&self.0[self.1.min(self.0.len() - 1)]);
        self.1 += 1;
        Choice::Rebalance
    }
}

/// Random walks of some names over as many days, with gaps, late starts, volumes, splits
/// and dividends.
pub(crate) fn histories(
    is_eventful: bool,
) -> impl proptest::strategy::Strategy<Value = Vec<History>> {
    let step = -0.08..0.08_f64;
    (2_usize..6, 40_usize..90)
        .prop_flat_map(move |(names, days)| {
            let walk = prop::collection::vec(step.clone(), days);
            let events = prop::collection::vec((0..names, 2..days, 0..4_u8), 0..6);
            (prop::collection::vec(walk, names), events)
        })
        .prop_map(move |(walks, events)| {
            let mut histories: Vec<History> = walks
                .iter()
                .enumerate()
                .map(|(i, steps)| {
                    let mut close = 20.0 + 7.0 * i as f64;
                    let closes: Vec<f64> = steps
                        .iter()
                        .map(|step| {
                            close *= 1.0 + step;
                            close
                        })
                        .collect();
                    with_volume(name(&format!("N{i}"), &closes), 4e3)
                })
                .collect();
            if is_eventful {
                events.into_iter().for_each(|event| add(&mut histories, event));
            }
            histories
        })
}

fn add(histories: &mut [History], (name, row, kind): (usize, usize, u8)) {
    let history = &mut histories[name];
    let is_kept = |bar: &Bar| match kind {
        // A day without a session, a name that is listed later, one that leaves earlier.
        2 => bar.session != day(row),
        3 if row.is_multiple_of(2) => bar.session > day(row / 4),
        3 => bar.session <= day(row),
        _ => true,
    };
    if history.bars.iter().filter(|bar| is_kept(bar)).count() >= 2 {
        history.bars.retain(is_kept);
    }
    let ex_date = day(row);
    match kind {
        0 => history.actions.push(Action { ex_date, kind: ActionKind::Split(2.0) }),
        1 => history.actions.push(Action { ex_date, kind: ActionKind::Dividend(0.4) }),
        _ => {}
    }
}
