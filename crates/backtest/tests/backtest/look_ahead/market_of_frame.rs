//! The market behind a frame: its fields are its own.
use backtest::{Choice, Frame, Strategy};

struct Behind;

impl Strategy for Behind {
    fn name(&self) -> String {
        "behind".to_owned()
    }

    fn decide(&mut self, frame: &Frame<'_>, weights: &mut [f64]) -> Choice {
        let later = Frame { row: frame.sessions() + 21, ..*frame };
        weights[0] = later.close(0, 0).unwrap_or(0.0);
        Choice::Rebalance
    }
}

fn main() {}
