//! A sweep of momentum on one core, and how a run grows with names and days.

use std::{hint::black_box, sync::atomic::AtomicBool};

use backtest::{
    Bar, Config, Detail, History, Market, Source, Strategy, WalkForward, run,
    strategies::{EqualWeight, Momentum, Sides},
    sweep::{Switching, sweep, walk_forward_picks},
};
use chrono::{Days, NaiveDate};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// The sessions of 33 years, as many as the universe R20 has.
const DAYS: usize = 8313;

fn market(names: usize, days: usize) -> Market {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let history = |name: usize| {
        let mut close = 100.0_f64;
        let bar = |day: usize| {
            close *= 1.0 + random.random_range(-0.03..0.0307);
            let session = NaiveDate::default() + Days::new(day as u64);
            Bar { session, close, adjusted: close, volume: None }
        };
        History {
            ticker: format!("N{name}").parse().expect("a ticker"),
            sector: None,
            half_spread_bps: None,
            bars: (0..days).map(bar).collect(),
            actions: Vec::new(),
        }
    };
    let mut history = history;
    let histories = (0..names).map(&mut history).collect();
    let source = Source { universe: "RANDOM".to_owned(), snapshot: None, bias: String::new() };
    Market::new(source, histories).expect("a market")
}

fn config(market: &Market) -> Config {
    let sessions = market.sessions();
    Config::new(sessions[0], sessions[sessions.len() - 1])
}

fn grid() -> Vec<Box<dyn Strategy>> {
    let mut grid: Vec<Box<dyn Strategy>> = Vec::new();
    for lookback in [63, 126, 189, 252, 378] {
        for skip in [0, 5, 10, 21, 42] {
            for top in [2, 3, 5, 8] {
                grid.push(Box::new(Momentum::new(lookback, skip, top, Sides::LongShort)));
            }
        }
    }
    grid
}

fn sweeps(criterion: &mut Criterion) {
    let market = market(20, DAYS);
    let config = config(&market);
    let folds = WalkForward::default().folds(DAYS, 63).expect("folds");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let name = format!("walk-forward of 100 momentum parameters, 20 x {DAYS}, one core");
    criterion.bench_function(&name, |bencher| {
        let work = || {
            let go = AtomicBool::new(false);
            let trials =
                sweep(&market, &config, grid(), Detail::Equity, |_| {}, &go).expect("runs");
            let mut best = Switching::new(grid(), walk_forward_picks(&trials, &folds));
            black_box(run(&market, &mut best, &config, Detail::Equity).expect("a run"));
        };
        pool.install(|| bencher.iter(work));
    });
}

fn growth(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("equal weight, all books");
    group.sample_size(10);
    for (names, days) in [(20, DAYS), (200, DAYS), (1000, DAYS), (1000, DAYS / 4), (5000, DAYS / 4)]
    {
        let market = market(names, days);
        let config = config(&market);
        group.throughput(Throughput::Elements((names * days) as u64));
        let id = BenchmarkId::from_parameter(format!("{names} x {days}"));
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                black_box(run(&market, &mut EqualWeight, &config, Detail::Equity).expect("a run"))
            });
        });
    }
}

criterion_group!(benches, sweeps, growth);
criterion_main!(benches);
