//! A frame kept for later: it lasts as long as the call.
use backtest::{Choice, Frame, Strategy};

struct Keeper<'m>(Vec<Frame<'m>>);

impl<'m> Strategy for Keeper<'m> {
    fn name(&self) -> String {
        "keeper".to_owned()
    }

    fn decide(&mut self, frame: &Frame<'_>, _: &mut [f64]) -> Choice {
        self.0.push(*frame);
        Choice::Keep
    }
}

fn main() {}
