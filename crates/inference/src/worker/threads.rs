//! How many threads a decode has: those of its lane, or all of the worker while
//! no other lane is at work. The bytes of an answer do not depend on it.

use std::{
    ffi::c_int,
    time::{Duration, Instant},
};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike as _,
};

/// The lane that decodes with all threads while it is alone. It is one, because
/// OpenMP keeps a team of threads for each thread that ever had one, and lets
/// them sleep at every barrier, which makes a decode slow, once all teams
/// together have more threads than there are CPUs.
pub(super) const WIDE_LANE: usize = 0;

/// How long one thread is used after all of them were slow, at first and at most.
const PAUSE: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(64);

// The library comes with the feature `openmp` of llama-cpp-2.
unsafe extern "C" {
    /// Bounds how deep parallel regions of the calling thread may nest. At 0 none
    /// is parallel: OpenMP then gives llama.cpp one thread, however many it asks for.
    safe fn omp_set_max_active_levels(levels: c_int);
}

/// Tokens from which on a step is measured: what a token takes is much the same in all of these.
const MEASURED_TOKENS_MIN: usize = 24;

/// Chooses the threads of each step of one lane. Threads wait for each other at
/// every operation, so where another process has one of the CPUs, all of them together
/// are many times slower than one. Steps of many tokens are measured, and one thread is
/// used for a while after such a step took longer than one thread works on it.
#[derive(Debug)]
pub(super) struct Width {
    /// Long steps that one thread takes before all do; the first finds no weights in a cache.
    unmeasured: u32,
    /// The least that one thread has worked on a token.
    narrow: Duration,
    step: Step,
    pause: Duration,
    narrow_until: Option<Instant>,
}

/// What the step before this one was.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Nothing to learn from.
    Other,
    /// So many tokens with one thread, and what that had worked before.
    Narrow(u32, Duration),
    /// So many tokens with all threads.
    Wide(u32, Instant),
}

impl Width {
    pub(super) const fn new() -> Self {
        Self {
            unmeasured: 2,
            narrow: Duration::MAX,
            step: Step::Other,
            pause: PAUSE,
            narrow_until: None,
        }
    }

    /// Begins with another request: the time since the last step was idle.
    pub(super) const fn begin(&mut self) {
        self.step = Step::Other;
    }

    /// Lets the calling thread's next decode use all threads, if the lane is alone and
    /// they help, or one.
    pub(super) fn choose(&mut self, tokens: usize, is_alone: bool) {
        let now = Instant::now();
        match self.step {
            Step::Other => {}
            Step::Narrow(tokens, before) => {
                self.narrow = self.narrow.min(worked().saturating_sub(before) / tokens);
            }
            Step::Wide(tokens, since) => self.judge(now, (now - since) / tokens),
        }
        let is_measured = tokens >= MEASURED_TOKENS_MIN;
        let measures = is_measured && self.unmeasured > 0;
        let is_wide = is_alone && !measures && self.narrow_until.is_none_or(|until| until <= now);
        omp_set_max_active_levels(is_wide.into());
        self.unmeasured -= u32::from(measures);
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        self.step = match (is_measured, is_wide) {
            (true, false) => Step::Narrow(tokens, worked()),
            (true, true) => Step::Wide(tokens, now),
            (false, _) => Step::Other,
        };
    }

    /// Judges what a token took with all threads.
    fn judge(&mut self, now: Instant, took: Duration) {
        if took > self.narrow {
            self.narrow_until = Some(now + self.pause);
            self.pause = (2 * self.pause).min(PAUSE_MAX);
        } else {
            self.pause = PAUSE;
        }
    }
}

/// Time the calling thread has worked.
fn worked() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD);
    let us = usage.map_or(0, |usage| {
        usage.user_time().num_microseconds() + usage.system_time().num_microseconds()
    });
    Duration::from_micros(us.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_are_left_alone_for_longer_each_time_they_are_slow() {
        let mut width = Width::new();
        width.narrow = Duration::from_millis(40);
        let now = Instant::now();
        width.judge(now, Duration::from_millis(25));
        assert_eq!(width.narrow_until, None);
        for pause in [2, 4, 8, 16, 32, 64, 64] {
            width.judge(now, Duration::from_millis(400));
            assert_eq!(width.narrow_until, Some(now + Duration::from_secs(pause)));
        }
        width.judge(now, Duration::from_millis(25));
        assert_eq!(width.pause, PAUSE);
    }

    #[test]
    fn the_first_long_steps_are_measured_with_one_thread() {
        let mut width = Width::new();
        let steps = ["Other", "Narrow(40", "Other", "Narrow(30", "Wide(96"];
        for (tokens, step) in [5, 40, 5, 30, 96].into_iter().zip(steps) {
            width.choose(tokens, true);
            assert!(format!("{:?}", width.step).starts_with(step), "{:?}", width.step);
        }
        assert!(width.narrow < Duration::from_secs(1), "{:?}", width.narrow);
        width.begin();
        // A thread that is one of several is measured as well, and the least counts.
        width.choose(32, false);
        width.narrow = Duration::from_secs(1);
        width.choose(5, false);
        assert!(width.narrow < Duration::from_secs(1), "{:?}", width.narrow);
    }
}
