//! Strategies against the same rules written down plainly, and the walk-forward.

use std::sync::atomic::AtomicBool;

use backtest::{
    Config, Costs, Detail, History, Market, Strategy, Timeline, WalkForward, Window,
    metrics::sharpe,
    run,
    strategies::{
        BuyAndHold, ClassPrior, Consensus, Decision, EqualWeight, FollowDecisions, Momentum,
        RandomRanks, Sides, VolatilityTarget,
    },
    sweep::{Switching, sweep, test_blocks, walk_forward_picks},
};
use domain::{Label, Ticker};

use crate::markets::{day, market, name};

const NAMES: usize = 8;

/// Prices that trend and turn, the same at every call.
fn closes(name: usize, days: usize) -> Vec<f64> {
    let mut close = 20.0 + name as f64;
    let step = |row: usize| {
        let x = (row * (2 * name + 3) + name * name) as f64;
        0.02 * (x * 0.7).sin() + 0.015 * (row as f64 / (40.0 + 9.0 * name as f64)).sin()
    };
    (0..days)
        .map(|row| {
            close *= 1.0 + step(row);
            close
        })
        .collect()
}

fn histories(days: usize) -> Vec<History> {
    (0..NAMES).map(|i| name(&format!("N{i}"), &closes(i, days))).collect()
}

fn config(start: usize, days: usize) -> Config {
    Config::new(day(start), day(days - 1))
}

/// The conventions of the product, without anything a strategy does not need.
fn plain(
    days: usize,
    start: usize,
    weights: impl Fn(usize, &[Vec<f64>]) -> Vec<f64>,
    is_held: bool,
) -> Vec<f64> {
    let closes: Vec<Vec<f64>> = (0..NAMES).map(|i| closes(i, days)).collect();
    let (mut cash, mut shares, mut equity) = (1.0, vec![0.0; NAMES], Vec::new());
    for row in start..days {
        let value: f64 = cash + (0..NAMES).map(|i| shares[i] * closes[i][row]).sum::<f64>();
        let is_trade = row > start && (row - 1 - start).is_multiple_of(21);
        let is_first = row == start + 1;
        let is_last = row == days - 1;
        if is_last || (is_trade && (is_first || !is_held)) {
            let targets = if is_last { vec![0.0; NAMES] } else { weights(row - 1, &closes) };
            for i in 0..NAMES {
                let wanted = targets[i] * value / closes[i][row];
                let traded = (wanted - shares[i]) * closes[i][row];
                cash -= traded + traded.abs() * 5e-4;
                shares[i] = wanted;
            }
        }
        equity.push(cash + (0..NAMES).map(|i| shares[i] * closes[i][row]).sum::<f64>());
    }
    equity
}

fn ends(
    closes: &[Vec<f64>],
    row: usize,
    lookback: usize,
    skip: usize,
    top: usize,
) -> [Vec<usize>; 2] {
    let score = |i: &usize| closes[*i][row - skip] / closes[*i][row - lookback] - 1.0;
    let mut order: Vec<usize> = (0..NAMES).collect();
    order.sort_by(|a, b| score(b).total_cmp(&score(a)));
    [order[..top].to_vec(), order[NAMES - top..].to_vec()]
}

fn same(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (row, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < 1e-12 * expected.abs(), "{row}: {found} {expected}");
    }
}

#[test]
fn rules_have_the_equity_of_their_plain_form() {
    let (days, start) = (400, 130);
    let market = market(histories(days));
    let config = config(start, days);
    let equity = |strategy: &mut dyn Strategy| {
        run(&market, strategy, &config, Detail::Equity).unwrap().equity
    };
    let equal = |_: usize, _: &[Vec<f64>]| vec![1.0 / NAMES as f64; NAMES];
    same(&equity(&mut BuyAndHold::default()), &plain(days, start, equal, true));
    same(&equity(&mut EqualWeight), &plain(days, start, equal, false));
    // What is bought once is bought whole, also where holdings overlap.
    let overlapping = Config { decide_every: 7, ..config.clone() };
    let bought = run(&market, &mut BuyAndHold::default(), &overlapping, Detail::Equity).unwrap();
    same(&bought.equity, &plain(days, start, equal, true));
    let momentum = |sides: f64| {
        move |row: usize, closes: &[Vec<f64>]| {
            let mut weights = vec![0.0; NAMES];
            let [best, worst] = ends(closes, row, 100, 10, 3);
            best.into_iter()
                .for_each(|i| weights[i] = if sides > 0.0 { 0.5 / 3.0 } else { 1.0 / 3.0 });
            worst.into_iter().filter(|_| sides > 0.0).for_each(|i| weights[i] = -0.5 / 3.0);
            weights
        }
    };
    let found = equity(&mut Momentum::new(100, 10, 3, Sides::LongShort));
    same(&found, &plain(days, start, momentum(1.0), false));
    let found = equity(&mut Momentum::new(100, 10, 3, Sides::Long));
    same(&found, &plain(days, start, momentum(0.0), false));
    let target = |row: usize, closes: &[Vec<f64>]| {
        let mean = |row: usize| {
            closes.iter().map(|closes| closes[row] / closes[row - 1] - 1.0).sum::<f64>()
                / NAMES as f64
        };
        let returns: Vec<f64> = (row - 59..=row).map(mean).collect();
        let average = returns.iter().sum::<f64>() / 60.0;
        let variance = returns.iter().map(|r| (r - average).powi(2)).sum::<f64>() / 59.0;
        vec![(0.1 / (252.0 * variance).sqrt()).min(1.0) / NAMES as f64; NAMES]
    };
    same(&equity(&mut VolatilityTarget::default()), &plain(days, start, target, false));
}

#[test]
fn chance_is_the_same_for_the_same_seed() {
    let market = market(histories(200));
    let equity = |seed| {
        let mut strategy = RandomRanks::new(seed, 2, Sides::LongShort);
        run(&market, &mut strategy, &config(0, 200), Detail::Equity).unwrap().equity
    };
    assert_eq!(equity(1), equity(1));
    assert_ne!(equity(1), equity(2));
}

fn ticker(i: usize) -> Ticker {
    format!("N{i}").parse().unwrap()
}

fn weights_after(strategy: &mut dyn Strategy, market: &Market) -> Vec<f64> {
    let config = Config { costs: Costs::proportional(0.0), ..config(100, 140) };
    let backtest = run(market, strategy, &config, Detail::Full).unwrap();
    backtest.weights().unwrap().days().nth(1).unwrap().to_vec()
}

fn near(found: &[f64], expected: &[f64]) {
    let is_near = found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-12);
    assert!(is_near && found.len() == expected.len(), "{found:?} {expected:?}");
}

#[test]
fn recommendations_are_followed_until_they_are_old() {
    let market = market(histories(140));
    let decision = |label| Decision { label, probs: None };
    let (decisions, strangers) = Timeline::new(
        &market,
        [
            (ticker(0), day(100), decision(Label::SBuy)),
            (ticker(1), day(99), decision(Label::Sell)),
            (ticker(1), day(50), decision(Label::Buy)),
            (ticker(2), day(100), decision(Label::Hold)),
            // Of the day after the decision, and older than a week.
            (ticker(3), day(101), decision(Label::Buy)),
            (ticker(4), day(92), decision(Label::Buy)),
            (ticker(5), day(93), decision(Label::Buy)),
            ("ZZ".parse().unwrap(), day(93), decision(Label::Buy)),
        ],
    );
    assert_eq!(strangers, 1);
    let mut strategy = FollowDecisions::new("model".to_owned(), decisions, 7);
    assert_eq!(strategy.name(), "decisions(model, days=7)");
    let share = 1.0 / NAMES as f64;
    let expected = [share, -share, 0.0, 0.0, 0.0, share, 0.0, 0.0];
    near(&weights_after(&mut strategy, &market), &expected);
    // Asked once more: by then all are older than a week.
    let coverage = strategy.coverage().unwrap();
    assert_eq!((coverage.found, coverage.asked), (4, 2 * NAMES));
}

#[test]
fn consensus_ranks_names_that_have_one() {
    let market = market(histories(140));
    let scores = [(0, 0.1), (1, -0.2), (2, 0.3), (5, 0.05)];
    let scores = scores.map(|(i, score)| (ticker(i), day(90), score));
    let (scores, _) = Timeline::new(&market, scores);
    let mut both = Consensus::new(scores.clone(), 30, 3, Sides::LongShort);
    // Four names have a score: two a side.
    near(&weights_after(&mut both, &market), &[0.25, -0.25, 0.25, 0.0, 0.0, -0.25, 0.0, 0.0]);
    let mut long = Consensus::new(scores.clone(), 30, 1, Sides::Long);
    near(&weights_after(&mut long, &market), &[0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let mut old = Consensus::new(scores, 9, 1, Sides::Long);
    near(&weights_after(&mut old, &market), &[0.0; NAMES]);
}

#[test]
fn the_class_prior_counts_labels_that_are_known() {
    let market = market(histories(140));
    let labels = [(0, 40, Label::Sell), (1, 50, Label::Buy), (2, 60, Label::Buy)];
    let later = (0..NAMES).map(|i| (ticker(i), day(101), Label::SSell));
    let labels = labels.map(|(i, row, label)| (ticker(i), day(row), label));
    let (labels, _) = Timeline::new(&market, labels.into_iter().chain(later));
    let share = 1.0 / NAMES as f64;
    near(&weights_after(&mut ClassPrior::new(labels.clone(), None), &market), &[share; NAMES]);
    // Nothing is known of the last month: nothing is held.
    near(&weights_after(&mut ClassPrior::new(labels, Some(30)), &market), &[0.0; NAMES]);
}

fn grid() -> Vec<Box<dyn Strategy>> {
    let grid = [(20, 0), (60, 5), (100, 20)];
    grid.into_iter().map(|(l, s)| Box::new(Momentum::new(l, s, 2, Sides::LongShort)) as _).collect()
}

#[test]
fn each_fold_goes_on_with_what_was_best_before_it() {
    let days = 700;
    let market = market(histories(days));
    let config = Config { horizon: 5, decide_every: 5, ..config(100, days) };
    let go = AtomicBool::new(false);
    let trials = sweep(&market, &config, grid(), Detail::Equity, |_| {}, &go).unwrap();
    let sizes = WalkForward {
        train_size: 150,
        test_size: 60,
        purged_size: 5,
        embargo_size: 5,
        window: Window::Rolling,
    };
    let folds = sizes.folds(trials[0].returns.len(), 5).unwrap();
    let picks = walk_forward_picks(&trials, &folds);
    assert_eq!(picks.len(), folds.len());
    for (pick, fold) in picks.iter().zip(&folds) {
        let of = |trial: usize| {
            let returns = &trials[trial].returns;
            sharpe(&fold.train_sessions().map(|at| returns[at]).collect::<Vec<_>>()).unwrap()
        };
        let best = (0..3).max_by(|a, b| of(*a).total_cmp(&of(*b))).unwrap();
        assert_eq!((pick.trial, pick.train_sharpe), (Some(best), Some(of(best))));
        assert_eq!(pick.from, trials[0].sessions[fold.test.start]);
    }
    let blocks = test_blocks(&trials[0], &folds);
    for (block, fold) in blocks.iter().zip(&folds) {
        let sessions = &trials[0].sessions[fold.test.clone()];
        assert_eq!((block.from, block.to), (sessions[0], sessions[sessions.len() - 1]));
        assert_eq!(block.sharpe, sharpe(&trials[0].returns[fold.test.clone()]));
    }
    assert_eq!((blocks.len(), blocks.last().unwrap().to), (folds.len(), day(days - 1)));
    // It trades as the pick does: with one pick for ever, it is that pick.
    let always = vec![backtest::sweep::Pick { from: day(100), trial: Some(1), train_sharpe: None }];
    let mut switching = Switching::new(grid(), always);
    let followed = run(&market, &mut switching, &config, Detail::Equity).unwrap();
    assert_eq!(followed.equity, trials[1].equity);
    let mut switching = Switching::new(grid(), picks);
    let followed = run(&market, &mut switching, &config, Detail::Full).unwrap();
    let begins = folds[0].test.start;
    assert!(followed.equity[..=begins].iter().all(|equity| *equity == 1.0));
    assert!(followed.trades.iter().all(|trade| trade.session > begins));
    let stop = AtomicBool::new(true);
    let stopped = sweep(&market, &config, grid(), Detail::Equity, |_| {}, &stop).unwrap_err();
    assert_eq!(stopped.to_string(), "stopped on request after 0 of 3 runs");
}
