//! What is known at the close: the frame, its sessions counted backwards, a timeline.
use backtest::{Choice, Frame, Strategy, Timeline};

struct Known(Timeline<f64>);

impl Strategy for Known {
    fn name(&self) -> String {
        "known".to_owned()
    }

    fn decide(&mut self, frame: &Frame<'_>, weights: &mut [f64]) -> Choice {
        for (name, weight) in weights.iter_mut().enumerate() {
            let value = self.0.latest(frame, name, 21).copied();
            *weight = frame.close(name, 1).or(value).unwrap_or(0.0);
        }
        Choice::Rebalance
    }
}

fn main() {}
