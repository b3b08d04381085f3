//! What holds for any market and any strategy.

use backtest::{
    ActionKind, Backtest, Config, Costs, Detail, History, Limits, run, strategies::EqualWeight,
};
use proptest::prelude::*;

use crate::markets::{Hashed, Scripted, day, histories, market};

/// Costs and limits of every kind.
fn config(days: usize, horizon: usize, delay: usize) -> Config {
    let costs = Costs { commission_bps: 2.0, half_spread_bps: 3.0, impact: 1.0, borrow_bps: 50.0 };
    let limits = Limits { adv_share: Some(0.5), position: Some(0.4), sector: None };
    Config {
        horizon,
        decide_every: horizon,
        delay,
        costs,
        limits,
        cash_rate: 0.02,
        delisting_return: -0.3,
        ..Config::new(day(0), day(days - 1))
    }
}

fn days(histories: &[History]) -> usize {
    let last = histories.iter().filter_map(|h| h.bars.last()).map(|bar| bar.session).max();
    ((last.unwrap() - day(0)).num_days() + 1) as usize
}

fn first(histories: &[History]) -> usize {
    let first = histories.iter().filter_map(|h| h.bars.first()).map(|bar| bar.session).min();
    (first.unwrap() - day(0)).num_days() as usize
}

fn hashed(seed: u64, gross: f64) -> Hashed {
    Hashed { seed, gross, is_long_only: false }
}

/// Keeps the books a second time, from the trades and the actions alone.
fn replay(histories: &[History], backtest: &Backtest) -> Vec<f64> {
    let mut histories = histories.to_vec();
    histories.sort_by(|a, b| a.ticker.cmp(&b.ticker));
    let mut cash = backtest.provenance.config.capital;
    let mut shares = vec![0.0; histories.len()];
    let mut closes = vec![0.0; histories.len()];
    let mut equity = Vec::new();
    for (at, session) in backtest.sessions.iter().enumerate() {
        let books = &backtest.days[at];
        cash += books.interest - books.borrow;
        for (name, history) in histories.iter().enumerate() {
            let bar = history.bars.iter().position(|bar| bar.session == *session);
            let Some(bar) = bar.filter(|bar| *bar > 0) else { continue };
            let before = history.bars[bar - 1].session;
            let is_now = |kind: &ActionKind, ex_date| {
                ex_date > before && ex_date <= *session && !matches!(kind, ActionKind::Delisting(_))
            };
            let actions = history.actions.iter().filter(|a| is_now(&a.kind, a.ex_date));
            let (mut paid, mut ratio) = (0.0, 1.0);
            for action in actions {
                match action.kind {
                    ActionKind::Dividend(value) => paid += value,
                    ActionKind::Split(value) => ratio *= value,
                    ActionKind::Delisting(_) => {}
                }
            }
            cash += shares[name] * paid;
            shares[name] *= ratio;
        }
        for trade in backtest.trades.iter().filter(|trade| trade.session == at) {
            cash -= trade.shares * trade.price + trade.costs.total();
            shares[trade.name] += trade.shares;
        }
        let mut value = 0.0;
        for (name, history) in histories.iter().enumerate() {
            if let Some(bar) = history.bars.iter().find(|bar| bar.session == *session) {
                closes[name] = bar.close;
            }
            value += shares[name] * closes[name];
        }
        equity.push((cash + value) / backtest.provenance.config.capital);
    }
    equity
}

proptest! {
    #[test]
    fn equity_is_cash_and_positions_less_costs(
        histories in histories(true), seed: u64, horizon in 1_usize..8, delay in 1_usize..4,
        tranches in 1_usize..4,
    ) {
        let days = days(&histories);
        let mut config = config(days, horizon * tranches, delay);
        config.decide_every = horizon;
        config.start = day(first(&histories));
        let market = market(histories.clone());
        let backtest = run(&market, &mut hashed(seed, 0.9), &config, Detail::Full).unwrap();
        for (at, (kept, expected)) in backtest.equity.iter().zip(replay(&histories, &backtest)).enumerate() {
            prop_assert!((kept - expected).abs() < 1e-9, "session {at}: {kept} {expected}");
        }
        let last = backtest.days.last().unwrap();
        prop_assert!(last.long == 0.0 && last.short == 0.0, "something is left: {:?}", last);
        // Growth is the product of returns, and costs have been paid.
        let growth: f64 = backtest.returns.iter().map(|r| 1.0 + r).product();
        prop_assert!((growth - backtest.equity.last().unwrap()).abs() < 1e-9);
        let paid: f64 = backtest.trades.iter().map(|trade| trade.costs.total()).sum();
        prop_assert!((paid - backtest.totals().costs.total()).abs() < 1e-6);
    }

    #[test]
    fn no_signal_is_no_trade(histories in histories(true), horizon in 1_usize..8) {
        let config = Config { cash_rate: 0.0, ..config(days(&histories), horizon, 1) };
        let config = Config { start: day(first(&histories)), ..config };
        let flat = vec![0.0; histories.len()];
        let market = market(histories);
        let backtest = run(&market, &mut Scripted::always(&flat), &config, Detail::Full).unwrap();
        prop_assert!(backtest.trades.is_empty());
        prop_assert!(backtest.equity.iter().all(|equity| *equity == 1.0));
        prop_assert!(backtest.returns.iter().all(|r| *r == 0.0));
    }

    #[test]
    fn doubling_costs_never_helps(
        histories in histories(false), seed: u64, horizon in 1_usize..8, is_long_only: bool,
    ) {
        // Small orders: a loss so large that it makes the next orders cheap is another matter.
        let config = config(days(&histories), horizon, 1);
        let limits = Limits::default();
        let free = Config { limits, cash_rate: 0.0, capital: 1e4, ..config };
        let market = market(histories);
        let last = |factor: f64| {
            let costs = Costs {
                commission_bps: 2.0 * factor,
                half_spread_bps: 3.0 * factor,
                impact: 0.2 * factor,
                borrow_bps: 50.0 * factor,
            };
            let config = Config { costs, ..free.clone() };
            let mut strategy = Hashed { seed, gross: 0.9, is_long_only };
            *run(&market, &mut strategy, &config, Detail::Equity).unwrap().equity.last().unwrap()
        };
        let (none, once, twice) = (last(0.0), last(1.0), last(2.0));
        prop_assert!(once < none && twice < once, "{none} {once} {twice}");
    }

    #[test]
    fn what_comes_later_changes_nothing_before_it(
        histories in histories(false), seed: u64, horizon in 1_usize..8, cut in 10_usize..40,
    ) {
        let config = config(days(&histories), horizon, 2);
        let mut shuffled = histories.clone();
        for history in &mut shuffled {
            // The bars after the cut in reverse order, on the same sessions.
            let mut bars = history.bars[cut..].to_vec();
            bars.reverse();
            for (bar, from) in history.bars[cut..].iter_mut().zip(bars) {
                (bar.close, bar.adjusted, bar.volume) = (from.close * 1.3, from.close, Some(9e3));
            }
        }
        let one = run(&market(histories), &mut hashed(seed, 0.9), &config, Detail::Full).unwrap();
        let other = run(&market(shuffled), &mut hashed(seed, 0.9), &config, Detail::Full).unwrap();
        prop_assert_eq!(&one.equity[..cut], &other.equity[..cut]);
        prop_assert_eq!(&one.days[..cut], &other.days[..cut]);
        let before = |backtest: &Backtest| {
            backtest.trades.iter().filter(|trade| trade.session < cut).copied().collect::<Vec<_>>()
        };
        prop_assert_eq!(before(&one), before(&other));
        prop_assert!(one.equity != other.equity);
    }

    #[test]
    fn the_order_of_names_changes_nothing(
        histories in histories(true), seed: u64, turn in 0_usize..6,
    ) {
        let mut config = config(days(&histories), 3, 1);
        config.start = day(first(&histories));
        let mut turned = histories.clone();
        let names = turned.len();
        turned.rotate_left(turn % names);
        turned.swap(0, names - 1);
        let one = run(&market(histories), &mut hashed(seed, 0.9), &config, Detail::Full).unwrap();
        let other = run(&market(turned), &mut hashed(seed, 0.9), &config, Detail::Full).unwrap();
        prop_assert_eq!(one, other);
    }

    #[test]
    fn a_run_has_numbers_only(histories in histories(true), gross in 0.1..20.0_f64, seed: u64) {
        let mut config = config(days(&histories), 2, 1);
        config.start = day(first(&histories));
        config.limits.position = None;
        let backtest =
            run(&market(histories), &mut hashed(seed, gross), &config, Detail::Full).unwrap();
        prop_assert!(backtest.equity.iter().chain(&backtest.returns).all(|x| x.is_finite()));
        // Once lost, everything stays lost.
        if let Some(ruin) = backtest.equity.iter().position(|equity| *equity <= 0.0) {
            prop_assert!(backtest.returns[ruin + 1..].iter().all(|r| *r == 0.0));
            prop_assert!(backtest.trades.iter().all(|trade| trade.session <= ruin));
        }
    }

    #[test]
    fn sweeps_find_what_single_runs_find(histories in histories(false), seeds: [u64; 4]) {
        let config = config(days(&histories), 4, 1);
        let market = market(histories);
        let trials = || -> Vec<Box<dyn backtest::Strategy>> {
            let hashed = seeds.iter().map(|seed| Box::new(hashed(*seed, 0.8)) as _);
            hashed.chain([Box::new(EqualWeight) as _]).collect()
        };
        let done = std::sync::atomic::AtomicUsize::new(0);
        let progress = |_| {
            done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        };
        let go = std::sync::atomic::AtomicBool::new(false);
        let swept =
            backtest::sweep::sweep(&market, &config, trials(), Detail::Full, progress, &go).unwrap();
        prop_assert_eq!(done.into_inner(), 5);
        for (mut trial, swept) in trials().into_iter().zip(swept) {
            prop_assert_eq!(run(&market, trial.as_mut(), &config, Detail::Full).unwrap(), swept);
        }
    }
}
