//! A frame of a later session: only the books make frames.
use backtest::{Choice, Frame, Market, Strategy};

struct Later<'m>(&'m Market);

impl Strategy for Later<'_> {
    fn name(&self) -> String {
        "later".to_owned()
    }

    fn decide(&mut self, frame: &Frame<'_>, weights: &mut [f64]) -> Choice {
        let later = Frame::new(self.0, frame.sessions() + 21);
        weights[0] = later.close(0, 0).unwrap_or(0.0);
        Choice::Rebalance
    }
}

fn main() {}
