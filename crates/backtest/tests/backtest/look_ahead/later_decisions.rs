//! What becomes known later: a timeline is read through a frame alone.
use backtest::{Choice, Frame, Strategy, Timeline};

struct Foreseeing(Timeline<f64>);

impl Strategy for Foreseeing {
    fn name(&self) -> String {
        "foreseeing".to_owned()
    }

    fn decide(&mut self, _: &Frame<'_>, weights: &mut [f64]) -> Choice {
        weights[0] = self.0.values[0].last().map_or(0.0, |(_, value)| *value);
        Choice::Rebalance
    }
}

fn main() {}
