//! How large a position a thesis allows, and where to leave it.
//!
//! ```text
//! s    = vol_60d * sqrt(21 / 252)                         deviation of a 21-day return
//! e    = - p(SSell) - p(Sell) / 4 + p(Buy) / 4 + p(SBuy)  expected return in units of s
//! size = 0.5 % of net asset value * |e| / s, at most 5 %
//! stop = 2 s
//! ```
//!
//! The probabilities are those of the answer, calibrated where the model has a
//! calibration. A class counts with the border of it that is nearer to 0, the least it
//! promises; borders are those of labels, in units of the standard deviation. For an
//! expected return of e s the growth-optimal position is e / s (Kelly 1956; for continuous
//! returns Thorp 2006, "The Kelly criterion in blackjack, sports betting, and the stock
//! market"), so the size is a fixed, small fraction of that: where e is 1, a move of s costs
//! 0.5 % of net asset value, and as volatility rises positions shrink (Moreira and Muir
//! 2017). The size is continuous in the probabilities while the label stays. `Hold`, and a
//! label that the expected return contradicts, allow no position.

use domain::{Label, LabelProbs};

use crate::thesis::Controls;

const MAX_POSITION_PCT_NAV: f64 = 5.0;
const RISK_BUDGET_PCT_NAV: f64 = 0.5;
const STOP_SIGMAS: f64 = 2.0;

/// Sessions of the holding period, and of a year.
const HOLDING: f64 = 21.0;
const YEAR: f64 = 252.0;

/// The least return each label promises, in standard deviations.
const LEAST_Z: [f64; 5] = [-1.0, -0.25, 0.0, 0.25, 1.0];

/// Sizes a position by the probabilities of its label and the annual volatility.
pub(crate) fn controls(probs: &LabelProbs, vol_60d: Option<f64>) -> Controls {
    // A flat series has no volatility to size by.
    let Some(vol) = vol_60d.filter(|vol| *vol > 0.0) else {
        return Controls { max_position_pct_nav: 0.0, stop_max_dd: None };
    };
    let sigma = vol * (HOLDING / YEAR).sqrt();
    let sized = RISK_BUDGET_PCT_NAV * edge(probs) / sigma;
    let round = |x: f64, scale: f64| (x * scale).round() / scale;
    Controls {
        max_position_pct_nav: round(sized.min(MAX_POSITION_PCT_NAV), 1e2),
        stop_max_dd: Some(round((STOP_SIGMAS * sigma).min(1.0), 1e4)),
    }
}

/// The expected return in the direction of the label, in standard deviations; 0 where the
/// label has none or the probabilities speak against it.
fn edge(probs: &LabelProbs) -> f64 {
    let expected: f64 = probs.values().iter().zip(LEAST_Z).map(|(p, z)| p * z).sum();
    match probs.argmax() {
        Label::SSell | Label::Sell => (-expected).max(0.0),
        Label::Hold => 0.0,
        Label::Buy | Label::SBuy => expected.max(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a volatility of 24 % a 21-day standard deviation is 24 / sqrt(12) = 6.928 %.
    #[test]
    fn controls_follow_their_formula() {
        let check = |probs: [f64; 5], vol, size, stop| {
            let found = controls(&LabelProbs::new(probs).unwrap(), vol);
            assert_eq!(found, Controls { max_position_pct_nav: size, stop_max_dd: stop });
        };
        // Certainty: 0.5 / 0.06928 = 7.22, so the cap; 0.5 / 0.2309 = 2.165.
        check([0.0, 0.0, 0.0, 0.0, 1.0], Some(0.24), 5.0, Some(0.1386));
        check([1.0, 0.0, 0.0, 0.0, 0.0], Some(0.80), 2.17, Some(0.4619));
        // e = -0.05 - 0.025 + 0.1 + 0.2 = 0.225, so 0.1125 / 0.06928 = 1.624.
        check([0.05, 0.1, 0.25, 0.4, 0.2], Some(0.24), 1.62, Some(0.1386));
        // Buy is most probable, but more is to be lost: e = -0.3 + 0.0875.
        check([0.3, 0.0, 0.3, 0.35, 0.05], Some(0.24), 0.0, Some(0.1386));
        check([0.2, 0.1, 0.4, 0.1, 0.2], Some(0.24), 0.0, Some(0.1386));
        check([0.0, 0.0, 0.0, 0.0, 1.0], None, 0.0, None);
        check([0.0, 0.0, 0.0, 0.0, 1.0], Some(0.0), 0.0, None);
    }

    #[test]
    fn a_position_grows_with_the_probability_of_its_label_and_shrinks_with_volatility() {
        let size = |p: f64, vol| {
            let rest = (1.0 - p) / 4.0;
            let probs = LabelProbs::new([rest, rest, rest, rest, p]).unwrap();
            controls(&probs, Some(vol)).max_position_pct_nav
        };
        let sizes: Vec<f64> = (3..=9).map(|p| size(f64::from(p) / 10.0, 0.3)).collect();
        assert!(sizes.is_sorted_by(|a, b| a < b), "{sizes:?}");
        assert!(size(0.6, 0.6) < size(0.6, 0.3));
    }
}
