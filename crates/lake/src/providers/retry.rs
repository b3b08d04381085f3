//! When a request is sent again, and when not.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

/// How often and how patiently a request is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often a request is sent at most.
    pub attempts_max: u32,
    /// Wait before the second attempt; it doubles from one attempt to the next.
    pub backoff_base: Duration,
    /// Longest wait of its own choice.
    pub backoff_max: Duration,
    /// Longest wait a server may ask for with Retry-After; beyond it the fetch ends.
    pub retry_after_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: 5,
            backoff_base: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
            retry_after_max: Duration::from_secs(120),
        }
    }
}

impl RetryPolicy {
    /// Returns the wait after `attempts` attempts: half the doubled wait and a
    /// random part of the other half, so that clients that failed together do not
    /// come back together.
    pub(super) fn backoff(&self, attempts: u32, random: &mut ChaCha8Rng) -> Duration {
        let doubled = self.backoff_base.saturating_mul(1 << attempts.saturating_sub(1).min(20));
        let wait = doubled.min(self.backoff_max);
        wait.mul_f64(0.5 + 0.5 * random.random_range(0.0..1.0))
    }
}

/// Reads a Retry-After header: seconds, or a date.
pub(super) fn retry_after(header: &str, now: DateTime<Utc>) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let at = DateTime::parse_from_rfc2822(header).ok()?;
    // A date that has passed asks for no wait.
    Some((at.with_timezone(&Utc) - now).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_are_scattered_by_the_seed() {
        let policy = RetryPolicy::default();
        let waits = |seed| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            (1..=10).map(|n| policy.backoff(n, &mut random)).collect::<Vec<_>>()
        };
        for (n, wait) in waits(7).into_iter().enumerate() {
            let full = Duration::from_millis(500 << n).min(policy.backoff_max);
            assert!(wait >= full / 2 && wait <= full, "{n}: {wait:?}");
        }
        assert_eq!(waits(7), waits(7));
        assert_ne!(waits(7), waits(8));
        let mut random = ChaCha8Rng::seed_from_u64(1);
        assert!(policy.backoff(u32::MAX, &mut random) <= policy.backoff_max);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let seconds = |text: &str| retry_after(text, now).map(|d| d.as_secs());
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds(" Thu, 01 Jan 2026 00:01:30 GMT"), Some(90));
        assert_eq!(seconds("Wed, 31 Dec 2025 00:00:00 GMT"), Some(0));
        assert_eq!(seconds("soon"), None);
        assert_eq!(seconds("-1"), None);
    }
}
