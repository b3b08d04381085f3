use backtest::{Choice, Frame, Strategy};

struct Momentum;

impl Strategy for Momentum {
    fn name(&self) -> String {
        "momentum".to_owned()
    }

    fn decide(&mut self, frame: &Frame<'_>, weights: &mut [f64]) -> Choice {
        for (name, weight) in weights.iter_mut().enumerate() {
            *weight = frame.simple_return(name, 21, 0).unwrap_or(0.0);
        }
        Choice::Rebalance
    }
}

fn main() {
    assert_eq!(Momentum.name(), "momentum");
}
