//! A close of tomorrow: sessions are counted backwards, without a sign.
use backtest::{Choice, Frame, Strategy};

struct Tomorrow;

impl Strategy for Tomorrow {
    fn name(&self) -> String {
        "tomorrow".to_owned()
    }

    fn decide(&mut self, frame: &Frame<'_>, weights: &mut [f64]) -> Choice {
        for (name, weight) in weights.iter_mut().enumerate() {
            *weight = frame.close(name, -1).unwrap_or(0.0);
        }
        Choice::Rebalance
    }
}

fn main() {}
