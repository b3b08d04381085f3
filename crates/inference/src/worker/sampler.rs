//! Choosing one of the tokens a grammar allows.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use toktrie::SimpleVob;

use crate::engine::Sampling;

/// Chooses tokens. Its random numbers depend on the seed of the request and the
/// number of the stream alone, never on what else is decoded.
pub(super) struct Sampler {
    rng: ChaCha8Rng,
    sampling: Sampling,
    candidates: Vec<(u32, f64)>,
}

impl Sampler {
    pub(super) fn new(seed: u64, stream: u64, sampling: Sampling) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self { rng, sampling, candidates: Vec::new() }
    }

    /// Returns a token of the mask, or `None` when the mask is empty. The
    /// logits are finite.
    pub(super) fn choose(&mut self, logits: &[f32], allowed: &SimpleVob) -> Option<u32> {
        let best = most_probable(logits, allowed)?;
        if self.sampling.temperature == 0.0 {
            return Some(best.0);
        }
        let temperature = f64::from(self.sampling.temperature);
        let max = f64::from(best.1);
        let threshold = f64::from(self.sampling.min_p).ln();
        let candidates = &mut self.candidates;
        candidates.clear();
        let mut total = 0.0;
        for_each_allowed(logits, allowed, |token, logit| {
            let relative = f64::from(logit) - max;
            if relative >= threshold {
                total += (relative / temperature).exp();
                candidates.push((token, total));
            }
        });
        let point = unit(&mut self.rng) * total;
        let at = candidates.partition_point(|(_, cumulative)| *cumulative <= point);
        candidates.get(at).or(candidates.last()).map(|(token, _)| *token)
    }
}

/// A number in `0.0..1.0` with 53 random bits.
fn unit(rng: &mut ChaCha8Rng) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let bits = (rng.next_u64() >> 11) as f64;
    bits / (1u64 << 53) as f64
}

/// The allowed token with the highest logit; the lowest id among equals.
fn most_probable(logits: &[f32], allowed: &SimpleVob) -> Option<(u32, f32)> {
    let mut best: Option<(u32, f32)> = None;
    for_each_allowed(logits, allowed, |token, logit| {
        if best.is_none_or(|(_, highest)| logit > highest) {
            best = Some((token, logit));
        }
    });
    best
}

fn for_each_allowed(logits: &[f32], allowed: &SimpleVob, mut each: impl FnMut(u32, f32)) {
    allowed.iter_set_entries(|token| {
        // The mask may be padded beyond the vocabulary.
        if let (Some(logit), Ok(token)) = (logits.get(token), u32::try_from(token)) {
            each(token, *logit);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(allowed: &[u32]) -> SimpleVob {
        let mut mask = SimpleVob::alloc(8);
        for token in allowed {
            mask.allow_token(*token);
        }
        mask
    }

    fn sampling(temperature: f32, min_p: f32) -> Sampling {
        Sampling { temperature, min_p }
    }

    const LOGITS: [f32; 8] = [9.0, 1.0, 2.0, 2.0, 0.0, -4.0, -1.0, 8.0];

    #[test]
    fn greedy_takes_the_first_of_the_best_allowed() {
        let mut sampler = Sampler::new(1, 0, Sampling::GREEDY);
        assert_eq!(sampler.choose(&LOGITS, &mask(&[1, 2, 3, 4])), Some(2));
        assert_eq!(sampler.choose(&LOGITS, &mask(&[])), None);
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        let mut sampler = Sampler::new(7, 0, sampling(1.0, 0.0));
        let allowed = mask(&[1, 2]);
        let n = 20_000;
        let ones = (0..n).filter(|_| sampler.choose(&LOGITS, &allowed) == Some(1)).count();
        // 1 / (1 + e) = 0.2689, standard error 0.003.
        let share = ones as f64 / f64::from(n);
        assert!((share - 0.2689).abs() < 0.015, "{share}");
    }

    #[test]
    fn min_p_leaves_improbable_tokens_out() {
        let mut sampler = Sampler::new(3, 0, sampling(5.0, 0.2));
        for _ in 0..500 {
            let token = sampler.choose(&LOGITS, &mask(&[1, 2, 4, 5, 6]));
            assert!(matches!(token, Some(1 | 2)), "{token:?}");
        }
    }

    #[test]
    fn seed_and_stream_decide() {
        let draw = |(seed, stream)| {
            let mut sampler = Sampler::new(seed, stream, sampling(2.0, 0.0));
            let allowed = mask(&[0, 1, 2, 3, 4, 5, 6, 7]);
            (0..32).map(|_| sampler.choose(&LOGITS, &allowed)).collect::<Vec<_>>()
        };
        assert_eq!(draw((5, 0)), draw((5, 0)));
        assert_ne!(draw((5, 0)), draw((6, 0)));
        assert_ne!(draw((5, 0)), draw((5, 1)));
    }
}
