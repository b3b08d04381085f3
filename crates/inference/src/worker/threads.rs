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

/// Chooses the threads of each step of one lane. Threads wait for each other at
/// every operation, so where another process has one of the CPUs, all of them together
/// are many times slower than one. Steps of full chunks are measured, and one thread is
/// used for a while after such a step took longer than one thread works on it.
#[derive(Debug)]
pub(super) struct Width {
    chunk: usize,
    /// Steps until the work of one thread is measured; the first one warms up.
    unmeasured: u32,
    /// What one thread works on a full chunk.
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
    /// A full chunk with one thread, and what that had worked before.
    Measured(Duration),
    /// A full chunk with all threads.
    Wide(Instant),
}

impl Width {
    pub(super) const fn new(chunk: usize) -> Self {
        Self {
            chunk,
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
            Step::Measured(before) => self.narrow = worked().saturating_sub(before),
            Step::Wide(since) => self.judge(now, now - since),
        }
        let is_full = tokens == self.chunk;
        let measures = is_full && self.unmeasured == 1;
        if is_full {
            self.unmeasured = self.unmeasured.saturating_sub(1);
        }
        let is_wide = is_alone && !measures && self.narrow_until.is_none_or(|until| until <= now);
        omp_set_max_active_levels(is_wide.into());
        self.step = match (is_full, is_wide) {
            (true, false) if measures => Step::Measured(worked()),
            (true, true) => Step::Wide(now),
            _ => Step::Other,
        };
    }

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
        let mut width = Width::new(32);
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
    fn the_second_full_chunk_is_measured_with_one_thread() {
        let mut width = Width::new(32);
        for (tokens, step) in [(32, "Wide"), (5, "Other"), (32, "Measured"), (32, "Wide")] {
            width.choose(tokens, true);
            assert!(format!("{:?}", width.step).starts_with(step), "{:?}", width.step);
        }
        assert!(width.narrow < Duration::from_secs(1), "{:?}", width.narrow);
        width.begin();
        width.choose(32, false);
        assert!(matches!(width.step, Step::Other));
    }
}
