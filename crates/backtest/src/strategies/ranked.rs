//! Rules that rank names and hold the best, or the best against the worst.

use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{Choice, Frame, Strategy, Timeline};

/// Which ends of a ranking are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sides {
    /// The best names, all capital among them.
    Long,
    /// The best names long and as many of the worst short, half the capital on each side.
    LongShort,
}

impl Sides {
    const fn key(self) -> &'static str {
        match self {
            Self::Long => "long",
            Self::LongShort => "long_short",
        }
    }
}

/// Ranks names by a score and writes the weights of the ends. Equal scores rank by ticker.
#[derive(Debug, Clone, Default, PartialEq)]
struct Ranking {
    /// Ranks of scores, the best first, with their names.
    scored: Vec<(i64, usize)>,
}

/// Orders numbers from high to low as [`f64::total_cmp`] does, by one comparison of integers.
const fn rank(score: f64) -> i64 {
    let bits = score.to_bits().cast_signed();
    !(bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed())
}

impl Ranking {
    fn weigh(
        &mut self,
        frame: &Frame<'_>,
        score: impl FnMut(usize) -> Option<f64>,
        (top, sides): (usize, Sides),
        weights: &mut [f64],
    ) {
        self.scored.clear();
        let mut score = score;
        let listed = (0..weights.len()).filter(|name| frame.is_listed(*name));
        self.scored.extend(listed.filter_map(|name| Some((rank(score(name)?), name))));
        self.scored.sort_unstable();
        let count = match sides {
            Sides::Long => top.min(self.scored.len()),
            // No name stands on both sides.
            Sides::LongShort => top.min(self.scored.len() / 2),
        };
        let weight = match sides {
            Sides::Long => 1.0 / count.max(1) as f64,
            Sides::LongShort => 0.5 / count.max(1) as f64,
        };
        self.scored.iter().take(count).for_each(|(_, name)| weights[*name] = weight);
        if sides == Sides::LongShort {
            self.scored.iter().rev().take(count).for_each(|(_, name)| weights[*name] = -weight);
        }
    }
}

/// Past returns, without the latest sessions, which tend to revert (Jegadeesh and Titman,
/// *Journal of Finance* 48, 1993): `P(t - skip) / P(t - lookback) - 1`.
#[derive(Debug, Clone, PartialEq)]
pub struct Momentum {
    lookback: usize,
    skip: usize,
    top: usize,
    sides: Sides,
    ranking: Ranking,
}

impl Momentum {
    /// Ranks by the return from `lookback` to `skip` sessions ago and holds `top` names a
    /// side.
    #[must_use]
    pub fn new(lookback: usize, skip: usize, top: usize, sides: Sides) -> Self {
        Self { lookback, skip, top, sides, ranking: Ranking::default() }
    }

    /// Twelve months without the last one, five names a side.
    #[must_use]
    pub fn twelve_one(sides: Sides) -> Self {
        Self::new(252, 21, 5, sides)
    }
}

impl Strategy for Momentum {
    fn name(&self) -> String {
        let Self { lookback, skip, top, sides, .. } = self;
        format!("momentum(lookback={lookback}, skip={skip}, top={top}, {})", sides.key())
    }

    fn decide(&mut self, frame: &Frame<'_>, weights: &mut [f64]) -> Choice {
        let (from, to) = (frame.closes(self.lookback), frame.closes(self.skip));
        let score = |name: usize| {
            let (from, to) = (from?.get(name)?, to?.get(name)?);
            (*from > 0.0).then(|| to / from - 1.0)
        };
        self.ranking.weigh(frame, score, (self.top, self.sides), weights);
        Choice::Rebalance
    }
}

/// What analysts expect: the latest score of each name, e.g. the upside of the mean price
/// target, if it is not too old.
#[derive(Debug, Clone, PartialEq)]
pub struct Consensus {
    scores: Timeline<f64>,
    days: u32,
    top: usize,
    sides: Sides,
    ranking: Ranking,
}

impl Consensus {
    /// Ranks by the latest score that is at most `days` days old.
    #[must_use]
    pub fn new(scores: Timeline<f64>, days: u32, top: usize, sides: Sides) -> Self {
        Self { scores, days, top, sides, ranking: Ranking::default() }
    }
}

impl Strategy for Consensus {
    fn name(&self) -> String {
        format!("consensus(days={}, top={}, {})", self.days, self.top, self.sides.key())
    }

    fn decide(&mut self, frame: &Frame<'_>, weights: &mut [f64]) -> Choice {
        let score = |name| self.scores.latest(frame, name, self.days).copied();
        self.ranking.weigh(frame, score, (self.top, self.sides), weights);
        Choice::Rebalance
    }
}

/// Ranks by chance: what the costs and the form of a portfolio alone bring.
#[derive(Debug, Clone)]
pub struct RandomRanks {
    seed: u64,
    random: ChaCha8Rng,
    top: usize,
    sides: Sides,
    ranking: Ranking,
}

impl RandomRanks {
    /// Draws by a seed.
    #[must_use]
    pub fn new(seed: u64, top: usize, sides: Sides) -> Self {
        let random = ChaCha8Rng::seed_from_u64(seed);
        Self { seed, random, top, sides, ranking: Ranking::default() }
    }
}

impl Strategy for RandomRanks {
    fn name(&self) -> String {
        format!("random(seed={}, top={}, {})", self.seed, self.top, self.sides.key())
    }

    fn decide(&mut self, frame: &Frame<'_>, weights: &mut [f64]) -> Choice {
        let score = |_| Some(self.random.random::<f64>());
        self.ranking.weigh(frame, score, (self.top, self.sides), weights);
        Choice::Rebalance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_order_numbers_from_high_to_low() {
        let numbers = [f64::INFINITY, 1e300, 1.5, 1.0, 5e-324, 0.0, -0.0, -1e-9, -2.0, -1e300];
        assert!(numbers.map(rank).is_sorted());
        assert!(numbers.windows(2).all(|pair| rank(pair[0]) < rank(pair[1])));
    }
}
