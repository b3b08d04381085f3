//! Random numbers that depend on their key alone, so that a run which resumes needs to
//! remember none.

use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

/// The numbers below `n` in a random order (Fisher and Yates, in Durstenfeld's form).
pub(crate) fn shuffled(n: usize, seed: u64, stream: u64) -> Vec<usize> {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    random.set_stream(stream);
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        // The upper half of a product is uniform up to 2^-64 of i.
        let j = (u128::from(random.next_u64()) * (i as u128 + 1)) >> 64;
        order.swap(i, usize::try_from(j).unwrap_or(0));
    }
    order
}

/// A number in `0.0..1.0` with 53 random bits.
pub(crate) fn unit(seed: u64) -> f64 {
    let bits = ChaCha20Rng::seed_from_u64(seed).next_u64() >> 11;
    bits as f64 / (1u64 << 53) as f64
}
