//! A strategy that brought the market along: outside the crate it has no prices.
use backtest::{Choice, Frame, Market, Strategy};

struct Prepared<'m>(&'m Market);

impl Strategy for Prepared<'_> {
    fn name(&self) -> String {
        "prepared".to_owned()
    }

    fn decide(&mut self, frame: &Frame<'_>, weights: &mut [f64]) -> Choice {
        weights[0] = self.0.closes(frame.sessions() + 21)[0];
        Choice::Rebalance
    }
}

fn main() {}
