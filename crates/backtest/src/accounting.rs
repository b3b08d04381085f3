//! The books of a portfolio: a fold over the sessions of a span with owned state.
//!
//! What happens on a session, in this order:
//!
//! 1. corporate actions change shares and cash: dividends, then splits, then delistings;
//! 2. interest on cash and the fee on short positions, of the night before;
//! 3. positions are valued at the close;
//! 4. decisions of `delay` sessions ago are sized by that value, before costs, and traded at
//!    that close, with what earlier days left of their orders; on the last session
//!    everything is sold instead;
//! 5. the strategy decides, if it is a day of decision.
//!
//! Shares are held between decisions, so weights drift. Costs are taken of the traded
//! value. Equity is cash and the value of positions; the first session counts, with the
//! capital before it.

use std::{collections::VecDeque, ops::Range};

use chrono::NaiveDate;
use domain::Ticker;

use crate::{
    ActionKind, BacktestError, Choice, Config, Detail, FillCosts, Frame, Market, Strategy, Trade,
    TradeKind,
    costs::Liquidity,
    result::{Day, Log},
};

/// Runs a strategy through the span of a configuration.
///
/// A run takes about 1 ns for each session and name on one core, and 8 bytes of log for
/// each session; with [`Detail::Full`] another 16 bytes for each session and name.
///
/// # Errors
/// Fails on a parameter out of its range, on a span the market does not cover, where costs
/// or limits need data that is missing, and on a weight that is not a number.
pub fn run(
    market: &Market,
    strategy: &mut dyn Strategy,
    config: &Config,
    detail: Detail,
) -> Result<crate::Backtest, BacktestError> {
    let rows = checked_rows(market, config)?;
    let mut book = Book::new(market, config, rows, detail);
    let mut row = book.rows.start;
    while row < book.rows.end {
        let quiet = book.quiet(row);
        if quiet.is_empty() {
            book.session(row);
            book.decide(row, strategy)?;
            row += 1;
        } else {
            row = book.drift(quiet);
        }
    }
    Ok(book.log.finish(market, strategy, config))
}

/// Returns the sessions on which a strategy is asked to decide, each with the names that can
/// be traded then.
///
/// # Errors
/// As [`run`], but for weights.
pub fn decision_days<'m>(
    market: &'m Market,
    config: &Config,
) -> Result<Vec<(NaiveDate, Vec<&'m Ticker>)>, BacktestError> {
    let rows = checked_rows(market, config)?;
    let listed = |row: usize| {
        let names = market.tickers().enumerate();
        names.filter(|(name, _)| market.has_session(row, *name)).map(|(_, ticker)| ticker).collect()
    };
    let days = rows.clone().filter(|row| is_decision(config, &rows, *row));
    Ok(days.map(|row| (market.sessions()[row], listed(row))).collect())
}

fn checked_rows(market: &Market, config: &Config) -> Result<Range<usize>, BacktestError> {
    config.check()?;
    market.check(config)?;
    let rows = market.rows(config.start, config.end)?;
    let needed = config.delay.saturating_add(2);
    if rows.len() < needed {
        let what = "a decision, its trade and a day after it";
        return Err(BacktestError::ShortSpan { found: rows.len(), needed, what });
    }
    if config.tranches() > rows.len() {
        let (name, value) = ("horizon", config.horizon.to_string());
        let remedy = "more decisions would overlap than the span has sessions: give a shorter one";
        return Err(BacktestError::BadParameter { name, value, remedy });
    }
    Ok(rows)
}

/// Tells whether a row is one of decision; what could not be traded before the last session
/// is not decided.
const fn is_decision(config: &Config, rows: &Range<usize>, row: usize) -> bool {
    let is_late = row + config.delay + 1 >= rows.end;
    next_decision(config, rows, row) == row && !is_late
}

/// Returns the first row from `row` on that decisions fall on, beyond the last one too.
const fn next_decision(config: &Config, rows: &Range<usize>, row: usize) -> usize {
    match (row - rows.start) % config.decide_every {
        0 => row,
        since => (row - since).saturating_add(config.decide_every),
    }
}

/// Names that are added up side by side: a sum that waits for the one before takes four
/// times as long.
const LANES: usize = 4;

/// Returns the value of long and of short positions, both without a sign.
#[inline]
fn sides(held: &[f64], closes: &[f64]) -> (f64, f64) {
    let (mut long, mut short) = ([0.0; LANES], [0.0; LANES]);
    let mut add = |values: [f64; LANES]| {
        // Two loops, each of which is one instruction.
        long.iter_mut().zip(&values).for_each(|(sum, value)| *sum += value.max(0.0));
        short.iter_mut().zip(&values).for_each(|(sum, value)| *sum -= value.min(0.0));
    };
    let (held, held_rest) = held.as_chunks::<LANES>();
    let (closes, closes_rest) = closes.as_chunks::<LANES>();
    for (held, closes) in held.iter().zip(closes) {
        add(std::array::from_fn(|lane| held[lane] * closes[lane]));
    }
    let mut rest = [0.0; LANES];
    let values = held_rest.iter().zip(closes_rest).map(|(held, close)| held * close);
    rest.iter_mut().zip(values).for_each(|(rest, value)| *rest = value);
    add(rest);
    (long.iter().sum(), short.iter().sum())
}

/// A decision on its way to the market.
struct Decision {
    row: usize,
    tranches: Range<usize>,
    weights: Vec<f64>,
}

struct Book<'m> {
    market: &'m Market,
    config: &'m Config,
    rows: Range<usize>,
    cash: f64,
    /// Shares of each name.
    held: Vec<f64>,
    /// Shares that are to be held, as soon as the market takes the orders.
    wanted: Vec<f64>,
    /// Shares each tranche wants; `wanted` is their sum.
    tranches: Vec<Vec<f64>>,
    decisions: VecDeque<Decision>,
    /// Buffers of decisions that were traded.
    spare: Vec<Vec<f64>>,
    decided: usize,
    /// The names with orders of a session.
    orders: Vec<usize>,
    /// Whether some order has not been filled.
    has_orders: bool,
    /// Value of short positions at the last close.
    short_value: f64,
    is_ruined: bool,
    liquidity: Liquidity,
    day: Day,
    log: Log,
}

impl<'m> Book<'m> {
    fn new(market: &'m Market, config: &'m Config, rows: Range<usize>, detail: Detail) -> Self {
        let (width, tranches) = (market.width(), config.tranches());
        Self {
            market,
            config,
            cash: config.capital,
            held: vec![0.0; width],
            wanted: vec![0.0; width],
            tranches: vec![vec![0.0; width]; tranches],
            decisions: VecDeque::new(),
            spare: Vec::new(),
            decided: 0,
            orders: vec![0; width],
            has_orders: false,
            short_value: 0.0,
            is_ruined: false,
            liquidity: Liquidity::new(width),
            day: Day::default(),
            log: Log::new(detail, rows.clone(), width),
            rows,
        }
    }

    /// Returns the sessions from `row` on that bring no action, order or decision: most are
    /// such, and they take a third of the time without looking for what is not there.
    fn quiet(&self, row: usize) -> Range<usize> {
        let decision = next_decision(self.config, &self.rows, row);
        if decision == row || self.has_orders || self.is_ruined {
            return row..row;
        }
        let trade = self.decisions.front().map_or(decision, |decision| decision.row);
        let end = decision.min(trade).min(self.rows.end - 1);
        row..self.market.next_event(row).map_or(end, |event| event.min(end))
    }

    /// Takes the book through quiet sessions, to the first on which it is ruined at most, and
    /// returns the row after them.
    fn drift(&mut self, rows: Range<usize>) -> usize {
        for (row, closes) in rows.clone().zip(self.market.closes_of(rows.clone())) {
            let mut day = self.accrued();
            (day.long, day.short) = sides(&self.held, closes);
            self.short_value = day.short;
            if day.equity() <= 0.0 {
                self.is_ruined = true;
                self.day = day;
                self.close(row);
                self.write(row);
                return row + 1;
            }
            self.log.push(&day, &self.held, closes);
        }
        rows.end
    }

    /// Writes the session down.
    fn write(&mut self, row: usize) {
        self.day.cash = self.cash;
        self.log.push(&self.day, &self.held, self.market.closes(row));
    }

    /// Takes the book through a session, but for its decision.
    fn session(&mut self, row: usize) {
        // Before the first session there is no night, and after ruin no book.
        let has_night = row > self.rows.start && !self.is_ruined;
        self.day = if has_night { self.accrued() } else { Day::default() };
        self.act(row);
        let equity = self.value(row);
        self.is_ruined |= equity <= 0.0;
        if row + 1 == self.rows.end || self.is_ruined {
            self.close(row);
        } else {
            self.take_decisions(row, equity);
            if self.has_orders {
                self.fill(row, TradeKind::Rebalance);
                // Nobody lends to who owns nothing: the book is closed, and stays so.
                if self.value(row) <= 0.0 {
                    self.is_ruined = true;
                    self.close(row);
                }
            }
        }
        self.write(row);
    }

    /// Pays interest and fees of the night before, and returns a day that has them.
    #[inline]
    fn accrued(&mut self) -> Day {
        let mut day = Day { cash: self.cash, ..Day::default() };
        let (rate, fee) = (self.config.cash_rate, self.config.costs.borrow_bps);
        if rate != 0.0 || fee != 0.0 {
            let nights = crate::metrics::DAYS_PER_YEAR;
            day.interest = self.cash * rate / nights;
            day.borrow = self.short_value * (fee * crate::config::BASIS_POINT / nights);
            self.cash += day.interest - day.borrow;
            day.cash = self.cash;
        }
        day
    }

    fn act(&mut self, row: usize) {
        for &(name, action) in self.market.events(row) {
            match action {
                ActionKind::Dividend(value) => {
                    let paid = self.held[name] * value;
                    self.day.dividends += paid;
                    self.cash += paid;
                }
                ActionKind::Split(ratio) => {
                    self.held[name] *= ratio;
                    self.wanted[name] *= ratio;
                    self.tranches.iter_mut().for_each(|tranche| tranche[name] *= ratio);
                }
                ActionKind::Delisting(terms) => {
                    let close = self.market.closes(row)[name];
                    let last = close * (1.0 + self.config.delisting_return);
                    self.delist(name, terms.unwrap_or(last));
                }
            }
        }
    }

    fn delist(&mut self, name: usize, price: f64) {
        let shares = std::mem::take(&mut self.held[name]);
        self.wanted[name] = 0.0;
        self.tranches.iter_mut().for_each(|tranche| tranche[name] = 0.0);
        if shares != 0.0 {
            self.cash += shares * price;
            let (session, kind) = (self.log.sessions(), TradeKind::Delisting);
            let costs = FillCosts::default();
            self.log.trade(Trade { session, name, shares: -shares, price, costs, kind });
        }
    }

    /// Values positions at the close and returns equity.
    #[inline]
    fn value(&mut self, row: usize) -> f64 {
        let (long, short) = sides(&self.held, self.market.closes(row));
        (self.day.long, self.day.short) = (long, short);
        self.short_value = short;
        self.cash + long - short
    }

    /// Sizes the decisions whose day has come.
    fn take_decisions(&mut self, row: usize, equity: f64) {
        while self.decisions.front().is_some_and(|decision| decision.row <= row) {
            let Some(decision) = self.decisions.pop_front() else { break };
            let part = equity / self.tranches.len() as f64;
            for tranche in &mut self.tranches[decision.tranches] {
                for ((shares, weight), close) in
                    tranche.iter_mut().zip(&decision.weights).zip(self.market.closes(row))
                {
                    // Without a branch, for which weights follow no pattern.
                    *shares = if *close == 0.0 { 0.0 } else { weight * part / close };
                }
                if self.config.whole_shares {
                    tranche.iter_mut().for_each(|shares| *shares = shares.trunc());
                }
            }
            match self.tranches.as_slice() {
                [only] => self.wanted.copy_from_slice(only),
                all => {
                    for (name, wanted) in self.wanted.iter_mut().enumerate() {
                        *wanted = all.iter().map(|tranche| tranche[name]).sum();
                    }
                }
            }
            self.spare.push(decision.weights);
            self.has_orders = true;
        }
    }

    /// Trades what is wanted and not held, as far as the day takes it.
    fn fill(&mut self, row: usize, kind: TradeKind) {
        let needs_liquidity =
            self.config.costs.impact > 0.0 || self.config.limits.adv_share.is_some();
        if needs_liquidity {
            self.liquidity.update(self.market, row);
        }
        let is_end = kind == TradeKind::Liquidation;
        self.has_orders = false;
        let closes = self.market.closes(row);
        let (mut cash, mut day) = (self.cash, self.day);
        // Gathered first, without a branch: which names are traded follows no pattern.
        let mut orders = std::mem::take(&mut self.orders);
        let mut count = 0;
        for (name, (wanted, held)) in self.wanted.iter().zip(&self.held).enumerate() {
            orders[count] = name;
            count += usize::from(wanted != held);
        }
        for &name in &orders[..count] {
            let (order, close) = (self.wanted[name] - self.held[name], closes[name]);
            let most = match is_end {
                true => f64::INFINITY,
                false => self.most_shares(row, name, needs_liquidity),
            };
            let shares = order.clamp(-most, most);
            self.has_orders |= shares != order;
            if shares == 0.0 {
                continue;
            }
            let value = shares.abs() * close;
            let half_spread = self.market.names()[name].half_spread_bps;
            let costs = self.liquidity.costs(self.config, half_spread, name, value);
            // What is filled whole lands on what is wanted, to the last bit.
            self.held[name] = match shares == order {
                true => self.wanted[name],
                false => self.held[name] + shares,
            };
            cash -= shares * close + costs.total();
            day.add(value, &costs);
            let session = self.log.sessions();
            self.log.trade(Trade { session, name, shares, price: close, costs, kind });
        }
        (self.cash, self.day, self.orders) = (cash, day, orders);
    }

    /// Returns how many shares of a name the day takes.
    fn most_shares(&self, row: usize, name: usize, needs_liquidity: bool) -> f64 {
        if !self.market.has_session(row, name) {
            return 0.0;
        }
        let average = self.liquidity.traded_value[name];
        let most = match self.config.limits.adv_share {
            _ if !needs_liquidity => f64::INFINITY,
            _ if average == 0.0 => 0.0,
            Some(share) => share * average / self.market.closes(row)[name],
            None => f64::INFINITY,
        };
        if self.config.whole_shares { most.trunc() } else { most }
    }

    /// Sells everything.
    fn close(&mut self, row: usize) {
        self.wanted.fill(0.0);
        self.tranches.iter_mut().for_each(|tranche| tranche.fill(0.0));
        self.decisions.clear();
        self.fill(row, TradeKind::Liquidation);
        self.value(row);
    }

    /// Asks the strategy on days of decision.
    fn decide(&mut self, row: usize, strategy: &mut dyn Strategy) -> Result<(), BacktestError> {
        if self.is_ruined || !is_decision(self.config, &self.rows, row) {
            return Ok(());
        }
        let mut weights = self.spare.pop().unwrap_or_else(|| vec![0.0; self.held.len()]);
        weights.fill(0.0);
        let frame = Frame::new(self.market, row);
        let tranche = self.decided % self.tranches.len();
        self.decided += 1;
        let choice = strategy.decide(&frame, &mut weights);
        match choice {
            Choice::Keep => self.spare.push(weights),
            Choice::Rebalance | Choice::RebalanceAll => {
                if let Some(name) = weights.iter().position(|weight| !weight.is_finite()) {
                    let ticker = self.market.names()[name].ticker.clone();
                    let (strategy, weight) = (strategy.name(), weights[name]);
                    let session = frame.session();
                    return Err(BacktestError::BadWeight { strategy, ticker, weight, session });
                }
                self.limit(&mut weights);
                if self.market.has_volumes() {
                    // At the close of the decision the session's own volume is known too.
                    self.liquidity.update(self.market, row + 1);
                    self.log.capacity(self.config, &self.liquidity.traded_value, &weights);
                }
                let row = row + self.config.delay;
                let tranches = match choice {
                    Choice::RebalanceAll => 0..self.tranches.len(),
                    _ => tranche..tranche + 1,
                };
                self.decisions.push_back(Decision { row, tranches, weights });
            }
        }
        Ok(())
    }

    /// Cuts weights to the limits of positions, then of sectors.
    fn limit(&self, weights: &mut [f64]) {
        if let Some(most) = self.config.limits.position {
            weights.iter_mut().for_each(|weight| *weight = weight.clamp(-most, most));
        }
        let Some(most) = self.config.limits.sector else { return };
        let names = self.market.names();
        for sector in 0..self.market.sectors() {
            let is_in = |name: &usize| names[*name].sector == Some(sector);
            let sum: f64 = (0..weights.len()).filter(is_in).map(|name| weights[name].abs()).sum();
            if sum > most {
                let members: Vec<usize> = (0..weights.len()).filter(is_in).collect();
                members.into_iter().for_each(|name| weights[name] *= most / sum);
            }
        }
    }
}
