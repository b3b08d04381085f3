//! Labels: what the price did after a date, in units of what it usually does.
//!
//! For horizons h of 5, 21 and 63 sessions, with the sample standard deviation v of
//! the last 60 daily returns known at t:
//!
//! ```text
//! r_h = P(t + h) / P(t) - 1      z_h = r_h / (v + 1e-8)      z = mean of z_h
//! ```
//!
//! Scheme `sqrt_time` divides z_h by sqrt(h) as well: returns over h sessions spread
//! by that, so that without it most rows fall into the two extreme classes. Classes:
//! `SSell` z <= -1, `Sell` z <= -0.25, `Hold` z < 0.25, `Buy` z < 1, `SBuy` else.
//!
//! A row without 60 returns before it or without all its future has no label. Rows
//! depend on 60 sessions before and 63 after them, so more data never changes a label.

use std::{collections::BTreeMap, path::Path};

use domain::{Label, Ticker};
use serde::{Deserialize, Serialize};

use crate::LakeError;

/// Horizons in sessions.
pub const HORIZONS: [usize; 3] = [5, 21, 63];

/// Daily returns the volatility is taken of.
pub const VOLATILITY_WINDOW: usize = 60;

/// Keeps a price that does not move from a division by zero.
const EPSILON: f64 = 1e-8;

/// How a horizon's return is scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelScheme {
    /// By the volatility of a day.
    Seed,
    /// By the volatility of the horizon, the day's times the root of its sessions.
    SqrtTime,
}

impl LabelScheme {
    /// All schemes, the default first.
    pub const ALL: [Self; 2] = [Self::SqrtTime, Self::Seed];

    /// Returns the name in configuration and files.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Seed => "seed",
            Self::SqrtTime => "sqrt_time",
        }
    }

    fn scale(self, horizon: usize) -> f64 {
        match self {
            Self::Seed => 1.0,
            Self::SqrtTime => (horizon as f64).sqrt(),
        }
    }
}

/// The borders between classes, from bearish to bullish.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "[f64; 4]", into = "[f64; 4]")]
pub struct Thresholds([f64; 4]);

impl Thresholds {
    /// -1, -0.25, 0.25 and 1.
    pub const DEFAULT: Self = Self([-1.0, -0.25, 0.25, 1.0]);

    /// Returns the class of a z value; none of NaN.
    #[must_use]
    pub fn label(&self, z: f64) -> Option<Label> {
        let [strong_sell, sell, buy, strong_buy] = self.0;
        Some(match z {
            z if z.is_nan() => return None,
            z if z <= strong_sell => Label::SSell,
            z if z <= sell => Label::Sell,
            z if z < buy => Label::Hold,
            z if z < strong_buy => Label::Buy,
            _ => Label::SBuy,
        })
    }
}

impl TryFrom<[f64; 4]> for Thresholds {
    type Error = String;

    fn try_from(borders: [f64; 4]) -> Result<Self, String> {
        let rises = borders.windows(2).all(|pair| pair[0] < pair[1]);
        let is_fine = rises && borders.iter().all(|border| border.is_finite());
        is_fine.then_some(Self(borders)).ok_or_else(|| {
            format!(
                "thresholds {borders:?} do not rise: give four numbers, as [-1, -0.25, 0.25, 1]"
            )
        })
    }
}

impl From<Thresholds> for [f64; 4] {
    fn from(thresholds: Thresholds) -> Self {
        thresholds.0
    }
}

/// Scheme and thresholds, the latter per class of instrument: `configs/labels.toml`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelConfig {
    /// Scheme.
    pub scheme: LabelScheme,
    /// Thresholds of instruments without a class of their own.
    pub thresholds: Thresholds,
    /// Thresholds and members of classes of instruments.
    #[serde(default)]
    pub classes: BTreeMap<String, InstrumentClass>,
}

/// Instruments that share thresholds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstrumentClass {
    /// Thresholds.
    pub thresholds: Thresholds,
    /// Members.
    pub tickers: Vec<Ticker>,
}

impl LabelConfig {
    /// Returns the configuration this crate was built with.
    ///
    /// # Errors
    /// Fails when the file is not valid, which a test excludes.
    pub fn builtin() -> Result<Self, LakeError> {
        Self::parse("configs/labels.toml", include_str!("../../../configs/labels.toml"))
    }

    /// Reads a configuration from a file.
    ///
    /// # Errors
    /// Fails when the file cannot be read or is not valid.
    pub fn load(path: &Path) -> Result<Self, LakeError> {
        let text = std::fs::read_to_string(path).map_err(LakeError::io("read", path))?;
        Self::parse(&path.display().to_string(), &text)
    }

    fn parse(origin: &str, text: &str) -> Result<Self, LakeError> {
        let invalid = |reason| LakeError::Config { origin: origin.to_owned(), reason };
        let config: Self = toml::from_str(text).map_err(|e| invalid(e.to_string()))?;
        let mut members: Vec<&Ticker> = config.classes.values().flat_map(|c| &c.tickers).collect();
        members.sort();
        match members.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(twice) => Err(invalid(format!("{} is in two classes or twice in one", twice[0]))),
            None => Ok(config),
        }
    }

    /// Returns the thresholds of an instrument.
    #[must_use]
    pub fn thresholds(&self, ticker: &Ticker) -> Thresholds {
        let class = self.classes.values().find(|class| class.tickers.contains(ticker));
        class.map_or(self.thresholds, |class| class.thresholds)
    }
}

/// A label and what it was made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelRow {
    /// Returns over [`HORIZONS`].
    pub returns: [f64; 3],
    /// Sample standard deviation of the last [`VOLATILITY_WINDOW`] daily returns.
    pub volatility: f64,
    /// Mean of the scaled returns.
    pub z: f64,
    /// Class.
    pub label: Label,
}

/// Returns the label of each row of a series of closes, oldest first; none where the
/// past or the future is not complete.
#[must_use]
pub fn label_rows(
    closes: &[f64],
    scheme: LabelScheme,
    thresholds: Thresholds,
) -> Vec<Option<LabelRow>> {
    let returns: Vec<f64> = std::iter::once(f64::NAN)
        .chain(closes.windows(2).map(|pair| pair[1] / pair[0] - 1.0))
        .collect();
    let volatility = crate::kernels::rolling::std(&returns, VOLATILITY_WINDOW, 1);
    let scales = HORIZONS.map(|horizon| scheme.scale(horizon));
    let row = |t: usize| -> Option<LabelRow> {
        let last = *closes.get(t + HORIZONS[HORIZONS.len() - 1])?;
        if last.is_nan() || volatility[t].is_nan() {
            return None;
        }
        let returns = HORIZONS.map(|horizon| (closes[t + horizon] - closes[t]) / closes[t]);
        let unit = volatility[t] + EPSILON;
        let scaled = [0, 1, 2].map(|i| returns[i] / unit / scales[i]);
        let z = scaled.iter().sum::<f64>() / 3.0;
        Some(LabelRow { returns, volatility: volatility[t], z, label: thresholds.label(z)? })
    };
    (0..closes.len()).map(row).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn reference() -> Value {
        serde_json::from_str(include_str!("../tests/data/labels.json")).unwrap()
    }

    fn classes(rows: &[Option<LabelRow>]) -> String {
        let code = |row: &Option<LabelRow>| match row {
            None => '.',
            Some(row) => char::from(b'0' + row.label.index() as u8),
        };
        rows.iter().map(code).collect()
    }

    #[test]
    fn aapl_has_the_classes_of_the_reference() {
        let text = include_str!("../tests/data/prices_aapl.csv");
        let closes: Vec<f64> = text
            .lines()
            .skip(1)
            .map(|line| line.split(',').nth(1).unwrap().parse().unwrap())
            .collect();
        assert_eq!(closes.len(), 8313);
        let reference = reference();
        for (scheme, key) in
            [(LabelScheme::Seed, "sample_eps1e-8"), (LabelScheme::SqrtTime, "sample_sqrt_h")]
        {
            let rows = label_rows(&closes, scheme, Thresholds::DEFAULT);
            assert_eq!(classes(&rows), reference["class_strings"][key]["AAPL"], "{key}");
            assert_eq!(rows.iter().position(Option::is_some), Some(60));
            assert_eq!(rows.iter().flatten().count(), 8190);
        }
    }

    #[test]
    fn toy_series_have_the_values_of_the_reference() {
        let reference = reference();
        for (name, toy) in reference["toy"].as_object().unwrap() {
            let closes: Vec<f64> = serde_json::from_value(toy["prices"].clone()).unwrap();
            let rows = label_rows(&closes, LabelScheme::Seed, Thresholds::DEFAULT);
            assert_eq!(classes(&rows), toy["classes"], "{name}");
            let row = rows[60].unwrap();
            let same = |found: f64, expected: &Value| {
                let expected = expected.as_f64().unwrap();
                (found - expected).abs() <= 1e-9 * expected.abs().max(1e-6)
            };
            // The deviation of equal returns is rounding alone, and so is z.
            if name != "geometric_0.1pct" {
                assert!(same(row.volatility, &toy["row60"]["v_sample"]), "{name}: {row:?}");
                assert!(same(row.z, &toy["row60"]["zbar_sample"]), "{name}: {row:?}");
            }
            for (found, horizon) in row.returns.iter().zip(HORIZONS) {
                assert!(same(*found, &toy["row60"]["r"][horizon.to_string()]), "{name}: {row:?}");
            }
        }
        for case in reference["boundary_cases"].as_array().unwrap() {
            let z = case["zbar_repr"].as_str().and_then(|text| text.parse().ok());
            let z = z.unwrap_or(f64::NAN);
            let label = Thresholds::DEFAULT.label(z).map(|label| label.to_string());
            assert_eq!(label.as_deref(), case["cls"].as_str(), "{case}");
        }
    }

    proptest! {
        #[test]
        fn more_data_changes_no_label(
            closes in prop::collection::vec(1.0..500.0f64, 124..200),
            more in prop::collection::vec(1.0..500.0f64, 1..80),
        ) {
            let before = label_rows(&closes, LabelScheme::SqrtTime, Thresholds::DEFAULT);
            let longer: Vec<f64> = closes.iter().chain(&more).copied().collect();
            let after = label_rows(&longer, LabelScheme::SqrtTime, Thresholds::DEFAULT);
            for (a, b) in before.iter().zip(&after) {
                prop_assert!(a.is_none() || a == b);
            }
        }
    }

    #[test]
    fn thresholds_rise_and_a_ticker_has_one_class() {
        assert!(Thresholds::try_from([-1.0, 0.5, 0.25, 1.0]).is_err());
        let config = LabelConfig::builtin().unwrap();
        assert_eq!(config.scheme, LabelScheme::SqrtTime);
        assert_eq!(config.thresholds, Thresholds::DEFAULT);
        let text = "scheme = 'seed'\nthresholds = [-1, -0.25, 0.25, 1]\n\
                    [classes.etf]\nthresholds = [-0.8, -0.2, 0.2, 0.8]\ntickers = ['SPY']\n";
        let config = LabelConfig::parse("labels.toml", text).unwrap();
        let of = |ticker: &str| <[f64; 4]>::from(config.thresholds(&ticker.parse().unwrap()));
        assert_eq!(of("SPY"), [-0.8, -0.2, 0.2, 0.8]);
        assert_eq!(of("AAPL"), [-1.0, -0.25, 0.25, 1.0]);
        let twice =
            format!("{text}[classes.fund]\nthresholds = [-1, 0, 1, 2]\ntickers = ['SPY']\n");
        let error = LabelConfig::parse("labels.toml", &twice).unwrap_err().to_string();
        assert!(error.contains("SPY is in two classes"), "{error}");
    }
}
