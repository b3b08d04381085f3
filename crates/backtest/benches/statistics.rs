//! Bootstrap, overfitting and calibration on one core. `benches/peers.rs` sets the first
//! beside arch.

use std::hint::black_box;

use backtest::{
    bootstrap::{Resampling, Stationary, distribution, sharpe_difference, sharpe_distribution},
    calibration::{Odir, fit_dirichlet},
    metrics::max_drawdown,
    statistics::{CSCV_BLOCKS, probability_of_overfitting},
};
use criterion::{Criterion, criterion_group, criterion_main};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

const DAYS: usize = 8000;

fn returns(seed: u64) -> Vec<f64> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..DAYS).map(|_| random.random_range(-0.02..0.0207)).collect()
}

fn one_core(criterion: &mut Criterion, name: &str, work: impl Fn() + Sync) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    criterion.bench_function(name, |bencher| pool.install(|| bencher.iter(&work)));
}

fn bootstrap(criterion: &mut Criterion) {
    let (strategy, baseline) = (returns(1), returns(2));
    for mean_block in [21, 63] {
        let plan = Resampling::Stationary(Stationary { mean_block, resamples: 1000, seed: 42 });
        let name = |what: &str| format!("1000 x {DAYS} days, block {mean_block}: {what}");
        one_core(criterion, &name("sharpe"), || {
            black_box(sharpe_distribution(black_box(&strategy), &plan).interval(0.95));
        });
        one_core(criterion, &name("sharpe difference"), || {
            black_box(sharpe_difference(black_box(&strategy), &baseline, &plan).interval(0.95));
        });
        one_core(criterion, &name("max drawdown"), || {
            black_box(distribution(black_box(&strategy), &plan, max_drawdown).interval(0.95));
        });
    }
}

fn overfitting(criterion: &mut Criterion) {
    let trials: Vec<Vec<f64>> = (0..100).map(returns).collect();
    one_core(criterion, &format!("overfitting, 100 trials x {DAYS} days"), || {
        black_box(probability_of_overfitting(black_box(&trials), CSCV_BLOCKS).expect("fine"));
    });
}

fn calibration(criterion: &mut Criterion) {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let row = |_| std::array::from_fn(|_| -random.random_range(0.1..4.0_f64));
    let z: Vec<[f64; 5]> = (0..20_000).map(row).collect();
    let classes: Vec<usize> = (0..z.len()).map(|_| random.random_range(0..5)).collect();
    let odir = Odir { lambda: 0.01, mu: 0.01 };
    one_core(criterion, "Dirichlet fit, 20,000 decisions", || {
        black_box(fit_dirichlet(black_box(&z), &classes, odir).expect("a fit"));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = bootstrap, overfitting, calibration
}
criterion_main!(benches);
