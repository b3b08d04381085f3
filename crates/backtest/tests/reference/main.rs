//! Values of other programs, which the conventions have to reproduce: to 1e-9, or within
//! their Monte Carlo deviation where they were drawn.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a helper of a test may panic and print like the test"
)]

mod edges;
mod inference;
mod metrics;
mod peers;

use serde_json::Value;

/// Relative tolerance of what is computed, not drawn.
const TOLERANCE: f64 = 1e-9;

/// Reads a file of `tests/data`.
macro_rules! data {
    ($name:literal) => {
        include_str!(concat!("../data/", $name))
    };
}
pub(crate) use data;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("the file is JSON")
}

/// Takes an own value where the other program has one.
#[track_caller]
fn check(what: &str, own: Option<f64>, other: &Value) {
    let other = other.as_f64().unwrap_or_else(|| panic!("{what}: {other} is no number"));
    let own = own.unwrap_or_else(|| panic!("{what} is undefined, not {other}"));
    // Where a value is 0 the inputs, around 1, set the scale of rounding.
    let distance = (own - other).abs();
    assert!(distance <= TOLERANCE * other.abs().max(1e-6), "{what}: {own}, not {other}");
}

/// A column of numbers of a CSV file.
fn column(text: &str, name: &str) -> Vec<f64> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let position = reader.headers().expect("a header").iter().position(|field| field == name);
    let position = position.expect("the column is there");
    let number = |row: csv::StringRecord| row[position].parse().expect("a number");
    reader.records().map(|row| number(row.expect("a row"))).collect()
}

fn returns(strategy: &str) -> Vec<f64> {
    column(data!("strategy_returns.csv"), strategy)
}
