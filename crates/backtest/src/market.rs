//! What happened on the market: sessions, prices, volumes and corporate actions of names.
//!
//! Everything is kept in matrices with a row per session, the order in which a backtest
//! reads it, so that a day is one slice. Prices are private: outside this crate they are
//! seen through a [`Frame`](crate::Frame), which ends at the day of a decision.

use std::{collections::BTreeMap, ops::Range};

use chrono::NaiveDate;
use domain::{Digest, Ticker};

use crate::{BacktestError, Config};

/// Sessions by which the last bar of a name may be late.
const LATE_SESSIONS: usize = 5;

/// A session of a name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bar {
    /// Session.
    pub session: NaiveDate,
    /// Close as traded, which orders are filled at.
    pub close: f64,
    /// Close with splits and dividends taken out, which signals are made of. The same as
    /// `close` where a source has only such prices.
    pub adjusted: f64,
    /// Shares traded; none where the source does not say.
    pub volume: Option<f64>,
}

/// What a corporate action does to a holder of shares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ActionKind {
    /// That many new shares for each old one.
    Split(f64),
    /// That much cash for each share held at the close before.
    Dividend(f64),
    /// The name leaves the exchange, its shares become that much cash each. Without terms
    /// it is the last close and [`Config::delisting_return`] on it.
    Delisting(Option<f64>),
}

impl ActionKind {
    /// Place among the actions of a day: dividends are paid on the shares of the day before.
    const fn rank(self) -> u8 {
        match self {
            Self::Dividend(_) => 0,
            Self::Split(_) => 1,
            Self::Delisting(_) => 2,
        }
    }
}

/// A corporate action, on the first session of the name from its date on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Action {
    /// First day on which the price is without it.
    pub ex_date: NaiveDate,
    /// What it does.
    pub kind: ActionKind,
}

/// All that is known of a name.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// Exchange symbol.
    pub ticker: Ticker,
    /// Sector, for limits; none where the universe does not say.
    pub sector: Option<String>,
    /// Half the quoted spread in basis points; none where the costs' own is to be used.
    pub half_spread_bps: Option<f64>,
    /// Sessions, oldest first.
    pub bars: Vec<Bar>,
    /// Corporate actions; empty where closes are adjusted for them.
    pub actions: Vec<Action>,
}

/// Where the data of a market is from, carried into every result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Universe.
    pub universe: String,
    /// Snapshot the prices were read from; none for a market made by hand.
    pub snapshot: Option<Digest>,
    /// What the choice of names does to results, e.g. survivorship.
    pub bias: String,
}

/// A name as the columns of a market know it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Name {
    pub(crate) ticker: Ticker,
    pub(crate) sector: Option<usize>,
    pub(crate) half_spread_bps: Option<f64>,
}

/// Sessions and names, in order of date and ticker. About 8 bytes for each session and
/// name, 8 more where closes are not adjusted and 8 more where there are volumes.
#[derive(Debug, Clone)]
pub struct Market {
    source: Source,
    sessions: Vec<NaiveDate>,
    names: Vec<Name>,
    sectors: Vec<String>,
    /// Last close as traded, 0 before the first one.
    close: Vec<f64>,
    /// Last adjusted close, 0 before the first; none where it is the close as traded.
    adjusted: Option<Vec<f64>>,
    /// Value of the shares traded; none where no name has volumes.
    traded_value: Option<Vec<f64>>,
    /// Whether a name had a session; none where all names had all sessions.
    has_session: Option<Vec<bool>>,
    /// Actions by row, in order of names.
    events: BTreeMap<usize, Vec<(usize, ActionKind)>>,
}

impl Market {
    /// Lines histories up by session. Where the bars of a name end more than five sessions
    /// before those of others and no action says what its shares became, it is delisted without
    /// terms; a source that is late with the last ones is no end of trading.
    ///
    /// # Errors
    /// Fails without sessions, on a ticker that occurs twice, on bars out of order and on
    /// numbers that cannot be.
    pub fn new(source: Source, mut histories: Vec<History>) -> Result<Self, BacktestError> {
        histories.sort_by(|a, b| a.ticker.cmp(&b.ticker));
        if let Some(twice) = histories.windows(2).find(|pair| pair[0].ticker == pair[1].ticker) {
            return Err(BacktestError::DuplicateTicker(twice[0].ticker.clone()));
        }
        histories.iter().try_for_each(check)?;
        let mut sessions: Vec<NaiveDate> =
            histories.iter().flat_map(|h| h.bars.iter().map(|bar| bar.session)).collect();
        sessions.sort_unstable();
        sessions.dedup();
        if sessions.is_empty() {
            return Err(BacktestError::NoSessions(source.universe));
        }
        let mut sectors: Vec<String> = histories.iter().filter_map(|h| h.sector.clone()).collect();
        sectors.sort_unstable();
        sectors.dedup();
        let names = histories
            .iter()
            .map(|history| Name {
                ticker: history.ticker.clone(),
                sector: history.sector.as_ref().and_then(|s| sectors.binary_search(s).ok()),
                half_spread_bps: history.half_spread_bps,
            })
            .collect();
        let size = sessions.len() * histories.len();
        let any = |is: fn(&Bar) -> bool| histories.iter().any(|h| h.bars.iter().any(is));
        let adjusted = any(|bar| bar.adjusted != bar.close).then(|| vec![0.0; size]);
        let traded_value = any(|bar| bar.volume.is_some()).then(|| vec![0.0; size]);
        let is_full = histories.iter().all(|h| h.bars.len() == sessions.len());
        let has_session = (!is_full).then(|| vec![false; size]);
        let (close, events) = (vec![0.0; size], BTreeMap::new());
        let mut market = Self {
            source,
            sessions,
            names,
            sectors,
            close,
            adjusted,
            traded_value,
            has_session,
            events,
        };
        for (name, history) in histories.iter().enumerate() {
            market.fill_column(name, &history.bars);
            market.add_events(name, history);
        }
        market.events.values_mut().for_each(|events| {
            events.sort_by_key(|(name, action)| (*name, action.rank()));
        });
        Ok(market)
    }

    fn fill_column(&mut self, name: usize, bars: &[Bar]) {
        let (width, mut bars) = (self.names.len(), bars.iter().peekable());
        let (mut close, mut adjusted) = (0.0, 0.0);
        for row in 0..self.sessions.len() {
            let at = row * width + name;
            if let Some(bar) = bars.next_if(|bar| bar.session == self.sessions[row]) {
                (close, adjusted) = (bar.close, bar.adjusted);
                if let Some(has_session) = &mut self.has_session {
                    has_session[at] = true;
                }
                if let Some(values) = &mut self.traded_value {
                    values[at] = bar.close * bar.volume.unwrap_or(0.0);
                }
            }
            self.close[at] = close;
            if let Some(column) = &mut self.adjusted {
                column[at] = adjusted;
            }
        }
    }

    fn add_events(&mut self, name: usize, history: &History) {
        let (Some(first), Some(last)) = (history.bars.first(), history.bars.last()) else { return };
        let mut is_delisted = false;
        for action in &history.actions {
            is_delisted |= matches!(action.kind, ActionKind::Delisting(_));
            // An action before the first close concerns nobody who could hold the name.
            if action.ex_date <= first.session {
                continue;
            }
            let row = self.sessions.partition_point(|session| *session < action.ex_date);
            let row = match action.kind {
                ActionKind::Delisting(_) => row,
                _ => (row..self.sessions.len())
                    .find(|row| self.has_session(*row, name))
                    .unwrap_or(self.sessions.len()),
            };
            self.events.entry(row).or_default().push((name, action.kind));
        }
        let row = self.sessions.partition_point(|session| *session <= last.session);
        if !is_delisted && row + LATE_SESSIONS < self.sessions.len() {
            self.events.entry(row).or_default().push((name, ActionKind::Delisting(None)));
        }
    }

    /// Returns where the data is from.
    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// Returns the sessions, oldest first.
    #[must_use]
    pub fn sessions(&self) -> &[NaiveDate] {
        &self.sessions
    }

    /// Returns the tickers, in order; a name is its position here.
    pub fn tickers(&self) -> impl ExactSizeIterator<Item = &Ticker> {
        self.names.iter().map(|name| &name.ticker)
    }

    /// Returns the position of a ticker.
    #[must_use]
    pub fn position(&self, ticker: &Ticker) -> Option<usize> {
        self.names.binary_search_by(|name| name.ticker.cmp(ticker)).ok()
    }

    /// Returns the number of names.
    #[must_use]
    pub fn width(&self) -> usize {
        self.names.len()
    }

    /// Returns whether prices come without volumes, so that neither impact nor a share of
    /// the average volume can be told.
    #[must_use]
    pub fn has_volumes(&self) -> bool {
        self.traded_value.is_some()
    }

    /// Returns the rows of the sessions from `start` to `end`.
    ///
    /// # Errors
    /// Fails on reversed dates and on dates the data does not reach to.
    pub fn rows(&self, start: NaiveDate, end: NaiveDate) -> Result<Range<usize>, BacktestError> {
        if end < start {
            return Err(BacktestError::ReversedDates { start, end });
        }
        let (first, last) = (self.sessions[0], self.sessions[self.sessions.len() - 1]);
        let ends = [("start", start), ("end", end)];
        let outside = ends.into_iter().find(|(_, date)| *date < first || *date > last);
        if let Some((name, date)) = outside {
            let universe = self.source.universe.clone();
            return Err(BacktestError::OutsideData { name, date, universe, first, last });
        }
        let row = |date: NaiveDate| self.sessions.partition_point(|session| *session < date);
        let after = self.sessions.partition_point(|session| *session <= end);
        Ok(row(start)..after)
    }

    /// Checks that there is what the costs and limits of a configuration are made of.
    pub(crate) fn check(&self, config: &Config) -> Result<(), BacktestError> {
        let missing = |what, data, name: usize, remedy| {
            let ticker = self.names[name].ticker.clone();
            Err(BacktestError::MissingData { what, data, ticker, remedy })
        };
        let volumeless = match &self.traded_value {
            None => Some(0),
            Some(values) => (0..self.width()).find(|name| {
                values.iter().skip(*name).step_by(self.width()).all(|value| *value == 0.0)
            }),
        };
        if let Some(name) = volumeless {
            let remedy = "leave it out, and give costs as cost_bps";
            if config.costs.impact > 0.0 {
                return missing("market impact", "volumes", name, remedy);
            }
            if config.limits.adv_share.is_some() {
                return missing("a limit by average volume", "volumes", name, "leave it out");
            }
        }
        let sectorless = self.names.iter().position(|name| name.sector.is_none());
        match sectorless.filter(|_| config.limits.sector.is_some()) {
            Some(name) => missing("a limit by sector", "a sector", name, "leave it out"),
            None => Ok(()),
        }
    }

    pub(crate) fn names(&self) -> &[Name] {
        &self.names
    }

    pub(crate) fn sectors(&self) -> usize {
        self.sectors.len()
    }

    /// Returns the last closes as traded at a row, 0 before the first.
    pub(crate) fn closes(&self, row: usize) -> &[f64] {
        &self.close[row * self.width()..][..self.width()]
    }

    /// Returns the last closes as traded at each of some rows.
    pub(crate) fn closes_of(&self, rows: Range<usize>) -> impl Iterator<Item = &[f64]> + use<'_> {
        self.close[rows.start * self.width()..rows.end * self.width()].chunks_exact(self.width())
    }

    /// Returns the last adjusted closes at a row, 0 before the first.
    pub(crate) fn adjusted(&self, row: usize) -> &[f64] {
        let closes = self.adjusted.as_ref().unwrap_or(&self.close);
        &closes[row * self.width()..][..self.width()]
    }

    pub(crate) fn traded_values(&self, row: usize) -> Option<&[f64]> {
        let values = self.traded_value.as_ref()?;
        Some(&values[row * self.width()..][..self.width()])
    }

    pub(crate) fn has_session(&self, row: usize, name: usize) -> bool {
        self.has_session.as_ref().is_none_or(|has| has[row * self.width() + name])
    }

    /// Returns the first row with actions from a row on.
    pub(crate) fn next_event(&self, row: usize) -> Option<usize> {
        self.events.range(row..).next().map(|(row, _)| *row)
    }

    pub(crate) fn events(&self, row: usize) -> &[(usize, ActionKind)] {
        self.events.get(&row).map_or(&[], Vec::as_slice)
    }
}

fn check(history: &History) -> Result<(), BacktestError> {
    let bad = |session, reason| {
        Err(BacktestError::BadBar { ticker: history.ticker.clone(), session, reason })
    };
    let positive = |value: f64| value.is_finite() && value > 0.0;
    for (i, bar) in history.bars.iter().enumerate() {
        if i > 0 && history.bars[i - 1].session >= bar.session {
            return bad(bar.session, "it does not follow the session before: sort the bars");
        }
        if !positive(bar.close) || !positive(bar.adjusted) {
            return bad(bar.session, "a close is not a positive number: leave the bar out");
        }
        if bar.volume.is_some_and(|volume| !volume.is_finite() || volume < 0.0) {
            return bad(bar.session, "its volume is not a number >= 0: leave the volume out");
        }
    }
    for action in &history.actions {
        let is_fine = match action.kind {
            ActionKind::Split(value) | ActionKind::Dividend(value) => positive(value),
            ActionKind::Delisting(cash) => cash.is_none_or(|cash| cash.is_finite() && cash >= 0.0),
        };
        if !is_fine {
            return bad(action.ex_date, "the value of an action is not a positive number");
        }
    }
    match history.half_spread_bps {
        Some(bps) if !bps.is_finite() || bps < 0.0 => {
            let session = history.bars.first().map(|bar| bar.session).unwrap_or_default();
            bad(session, "its half spread is not a number >= 0")
        }
        _ => Ok(()),
    }
}
