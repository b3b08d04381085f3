//! Gradients against differences, optima against ones that are known.

use nalgebra::DVector;
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::reliability::log_loss;

const ODIR: Odir = Odir { lambda: 0.05, mu: 0.02 };

fn softmax<const K: usize>(logits: [f64; K]) -> [f64; K] {
    let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|u| (u - top).exp()).sum();
    logits.map(|u| (u - top).exp() / sum)
}

/// Logits of a model, with classes drawn from what `truth` makes of them.
fn sample(
    rows: usize,
    seed: u64,
    truth: impl Fn([f64; 3]) -> [f64; 3],
) -> (Vec<[f64; 3]>, Vec<usize>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let draw = |_| {
        let z: [f64; 3] = std::array::from_fn(|_| random.random_range(-2.0..2.0));
        let mut left: f64 = random.random();
        let class = softmax(truth(z)).iter().position(|p| {
            left -= p;
            left < 0.0
        });
        (z, class.unwrap_or(2))
    };
    (0..rows).map(draw).unzip()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Gradient and Hessian of each method, at any parameters, against central differences.
    #[test]
    fn derivatives_are_those_of_the_loss(
        rows in prop::collection::vec((prop::array::uniform3(-3.0..3.0_f64), 0_usize..3), 1..20),
        parameters in prop::collection::vec(-2.0..2.0_f64, 12),
    ) {
        let (z, classes): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        for (size, problem) in [
            (1, temperature_problem(&z, &classes)),
            (5, vector_problem(&z, &classes)),
            (12, dirichlet_problem(&z, &classes, ODIR)),
        ] {
            let at = DVector::from_column_slice(&parameters[..size]);
            let (loss, gradient, hessian) = problem.derivatives(&at);
            prop_assert!((loss - problem.loss(&at)).abs() < 1e-12);
            for m in 0..size {
                let moved = |by: f64| {
                    let mut moved = at.clone();
                    moved[m] += by;
                    moved
                };
                let (above, below) = (moved(1e-5), moved(-1e-5));
                let slope = (problem.loss(&above) - problem.loss(&below)) / 2e-5;
                prop_assert!((slope - gradient[m]).abs() < 1e-7, "{m}: {slope} {}", gradient[m]);
                let bend =
                    (problem.derivatives(&above).1 - problem.derivatives(&below).1) / 2e-5;
                prop_assert!((bend - hessian.column(m)).amax() < 1e-7, "{m}");
            }
        }
    }

    /// No parameters near the fitted ones, or far from them, have less loss.
    #[test]
    fn nothing_is_better_than_the_fit(
        seed in 0_u64..1000,
        other in prop::collection::vec(-2.0..2.0_f64, 12),
        nearness in prop_oneof![Just(1.0), Just(1e-3)],
    ) {
        let (z, classes) = sample(200, seed, |z| z.map(|z| z / 1.7));
        let problem = dirichlet_problem(&z, &classes, ODIR);
        let fit = fit_dirichlet(&z, &classes, ODIR).unwrap();
        let found = DVector::from_vec([fit.weights.concat(), fit.intercepts.to_vec()].concat());
        let other = &found + (DVector::from_vec(other) - &found) * nearness;
        prop_assert!(problem.loss(&found) <= problem.loss(&other));
    }
}

#[test]
fn finds_what_the_classes_were_drawn_from() {
    let rows = 40_000;
    let (z, classes) = sample(rows, 1, |z| z.map(|z| z / 2.5));
    let temperature = fit_temperature(&z, &classes).unwrap();
    assert!((temperature / 2.5 - 1.0).abs() < 0.05, "{temperature}");

    let (z, classes) = sample(rows, 2, |[a, b, c]| [0.5 * a + 0.3, 1.5 * b - 0.4, 0.8 * c]);
    let VectorScaling { weights, intercepts } = fit_vector(&z, &classes).unwrap();
    for (found, expected) in weights.iter().chain(&intercepts).zip([0.5, 1.5, 0.8, 0.3, -0.4, 0.0])
    {
        assert!((found - expected).abs() < 0.08, "{weights:?} {intercepts:?}");
    }

    // What is said of a class depends on another: only the matrix can mend that.
    let truth = |[a, b, c]: [f64; 3]| [a + 0.6 * c, b, 0.5 * c];
    let (z, classes) = sample(rows, 3, truth);
    let weak = Odir { lambda: 1e-6, mu: 1e-6 };
    let DirichletScaling { weights, intercepts } = fit_dirichlet(&z, &classes, weak).unwrap();
    let mixed = |z: &[f64; 3]| -> [f64; 3] {
        std::array::from_fn(|k| (0..3).map(|j| weights[k][j] * z[j]).sum::<f64>() + intercepts[k])
    };
    let worst = z[..1000].iter().map(|row| {
        let (p, q) = (softmax(mixed(row)), softmax(truth(*row)));
        (0..3).map(|k| (p[k] - q[k]).abs()).fold(0.0, f64::max)
    });
    let worst = worst.fold(0.0, f64::max);
    assert!(worst < 0.04, "{worst}");
}

/// Two kinds of forecasts, each right in a known share of cases: the best temperature makes
/// them say so. softmax((x, 0) / T) = share gives T = x / ln(share / (1 - share)).
#[test]
fn the_best_temperature_of_two_classes_is_known() {
    let z = [[2.0, 0.0]; 10];
    let classes = [0, 0, 0, 0, 0, 0, 0, 1, 1, 1];
    let expected = 2.0 / (0.7_f64 / 0.3).ln();
    let found = fit_temperature(&z, &classes).unwrap();
    assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
    assert!(matches!(fit_temperature(&[[0.0, 2.0]; 10], &classes), Err(FitError::NoSkill)));
}

#[test]
fn what_has_no_best_parameters_is_refused() {
    let z = [[2.0, 0.0], [0.0, 2.0], [1.5, 0.0], [0.0, 1.0]];
    let perfect = [0, 1, 0, 1];
    assert_eq!(fit_temperature(&z, &perfect), Err(FitError::NoOptimum));
    assert_eq!(fit_vector(&z, &perfect), Err(FitError::NoOptimum));
    assert_eq!(fit_dirichlet(&z, &perfect, ODIR), Err(FitError::NoOptimum));
    assert_eq!(fit_temperature(&[[1.0, 1.0]; 4], &perfect), Err(FitError::NoOptimum));
    // One class is told apart without error, the other two are not.
    let z = [
        [3.0, 0.0, 0.0],
        [2.0, 0.1, 0.0],
        [0.0, 1.0, 0.5],
        [0.0, 0.2, 1.0],
        [0.0, 1.0, 0.2],
        [0.0, 0.0, 1.0],
    ];
    assert_eq!(fit_vector(&z, &[0, 0, 1, 1, 2, 2]), Err(FitError::NoOptimum));
}

#[test]
fn refuses_rows_that_do_not_fit() {
    let z = [[0.1, 0.2], [0.3, 0.1]];
    assert_eq!(fit_temperature::<2>(&[], &[]), Err(FitError::Empty));
    assert_eq!(fit_temperature(&z, &[0]), Err(FitError::Lengths { rows: 2, classes: 1 }));
    assert_eq!(fit_temperature(&z, &[0, 2]), Err(FitError::Class { row: 1, class: 2, classes: 2 }));
    assert!(matches!(
        fit_temperature(&[[0.1, f64::NAN]], &[0]),
        Err(FitError::Value { row: 0, class: 1, .. })
    ));
    assert_eq!(fit_vector(&z, &[0, 0]), Err(FitError::MissingClass(1)));
    assert_eq!(
        fit_dirichlet(&z, &[0, 1], Odir { lambda: 0.0, mu: 1.0 }),
        Err(FitError::Regularisation { lambda: 0.0, mu: 1.0 })
    );
}

/// Through the labels: forecasts that say too much say what is so after each method, and
/// the stored form is read back.
#[test]
fn calibrates_labels() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let draw = |_| {
        let logits: [f64; 5] = std::array::from_fn(|_| random.random_range(-1.5..1.5));
        let mut left: f64 = random.random();
        let class = softmax(logits).iter().position(|p| {
            left -= p;
            left < 0.0
        });
        let said = LabelProbs::softmax(logits.map(|u| 3.0 * u as f32)).unwrap();
        (said, Label::ALL[class.unwrap_or(4)])
    };
    let (probs, labels): (Vec<LabelProbs>, Vec<Label>) = (0..20_000).map(draw).unzip();
    let classes: Vec<usize> = labels.iter().map(|label| label.index()).collect();
    let loss = |probs: &[LabelProbs]| {
        log_loss(&probs.iter().map(LabelProbs::values).collect::<Vec<_>>(), &classes).unwrap()
    };
    let before = loss(&probs);
    for method in [Method::Temperature, Method::Vector, Method::Dirichlet(ODIR)] {
        let calibration = fit(method, &probs, &labels).unwrap();
        let after: Vec<LabelProbs> =
            probs.iter().map(|probs| calibration.apply(probs).unwrap()).collect();
        assert!(loss(&after) < before - 0.3, "{method:?}: {before} {}", loss(&after));
        let text = serde_json::to_string(&calibration).unwrap();
        assert_eq!(serde_json::from_str::<Calibration>(&text).unwrap(), calibration);
    }
}
