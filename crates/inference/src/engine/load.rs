//! How busy the lanes are, as far as the front knows, and what that means for who
//! asks next.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Generation, Priority};
use crate::protocol::BusyLane;

/// Time of a thesis in its lane, until the first is measured.
const SERVICE_GUESS_US: u64 = 500_000;

/// The lanes of the worker that serves, and the people who wait for them.
#[derive(Debug)]
pub(super) struct Load {
    lanes: usize,
    /// Mean time of a thesis in its lane, in microseconds.
    service_us: AtomicU64,
    serving: Mutex<Serving>,
}

/// What is known of the worker that serves.
#[derive(Debug, Default)]
struct Serving {
    /// Requests of people in flight.
    people: Arc<AtomicU32>,
    running: Vec<Busy>,
}

/// A lane at work.
#[derive(Debug, Clone, Copy)]
struct Busy {
    since: Instant,
    priority: Priority,
}

/// A person's request in flight.
#[derive(Debug)]
pub(super) struct Person {
    /// With whom it is counted.
    people: Arc<AtomicU32>,
    /// How many were in flight before.
    before: u32,
}

impl Drop for Person {
    fn drop(&mut self) {
        self.people.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Load {
    pub(super) fn new(lanes: u32) -> Self {
        Self {
            lanes: lanes as usize,
            service_us: AtomicU64::new(SERVICE_GUESS_US),
            serving: Mutex::default(),
        }
    }

    /// Counts a person until the guard is dropped.
    pub(super) fn enter(&self) -> Person {
        let people = Arc::clone(&self.lock().people);
        let before = people.fetch_add(1, Ordering::Relaxed);
        Person { people, before }
    }

    /// Returns how many people have requests in flight.
    pub(super) fn people(&self) -> u32 {
        self.lock().people.load(Ordering::Relaxed)
    }

    /// Notes what the lanes of the serving worker are at.
    pub(super) fn observe(&self, running: &[BusyLane]) {
        let now = Instant::now();
        let busy = |lane: &BusyLane| Busy {
            since: now.checked_sub(Duration::from_millis(lane.busy_ms.into())).unwrap_or(now),
            priority: lane.priority,
        };
        self.lock().running = running.iter().map(busy).collect();
    }

    /// Begins anew with another worker; its predecessor goes on with the people it has.
    pub(super) fn begin_anew(&self) {
        *self.lock() = Serving::default();
    }

    /// Returns the mean time of a thesis in its lane.
    pub(super) fn service(&self) -> Duration {
        Duration::from_micros(self.service_us.load(Ordering::Relaxed))
    }

    /// Takes a thesis that was just decoded into the mean, with a weight of a fifth. One
    /// whose prompt was kept says nothing about others.
    pub(super) fn note_service(&self, generation: &Generation) {
        if generation.usage.cached_tokens == generation.usage.prompt_tokens {
            return;
        }
        let service = generation.timings.service().as_micros();
        let service = u64::try_from(service).unwrap_or(u64::MAX / 8);
        let mean = self.service_us.load(Ordering::Relaxed);
        self.service_us.store((4 * mean + service) / 5, Ordering::Relaxed);
    }

    /// Returns how long a person is likely to wait for a lane, or none where one is
    /// free. Elements of batches count where they are decoded; those that wait are
    /// overtaken, but for the few that have waited for long.
    pub(super) fn expected_wait(&self, person: &Person) -> Option<Duration> {
        let running = self.lock().running.clone();
        let served = running.iter().filter(|lane| lane.priority == Priority::Interactive).count();
        let ahead = (person.before as usize).saturating_sub(served);
        let busy = running.iter().map(|lane| lane.since.elapsed());
        wait_for_lane(self.lanes, busy, ahead, self.service())
    }

    fn lock(&self) -> MutexGuard<'_, Serving> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the time until a lane is free for who stands behind `ahead` others, none
/// where one is free now. Every thesis takes `service`, and some lanes have been busy for
/// so long; one that is overdue is given another quarter.
fn wait_for_lane(
    lanes: usize,
    busy: impl Iterator<Item = Duration>,
    ahead: usize,
    service: Duration,
) -> Option<Duration> {
    let mut free_in = vec![Duration::ZERO; lanes];
    for (free_in, busy) in free_in.iter_mut().zip(busy) {
        *free_in = service.saturating_sub(busy).max(service / 4);
    }
    for _ in 0..ahead {
        if let Some(first) = free_in.iter_mut().min() {
            *first += service;
        }
    }
    free_in.into_iter().min().filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: Duration = Duration::from_secs(8);

    /// The wait in seconds, 0 where a lane is free.
    fn wait(busy: &[u64], ahead: usize) -> u64 {
        let busy = busy.iter().copied().map(Duration::from_secs);
        wait_for_lane(2, busy, ahead, SERVICE).map_or(0, |wait| wait.as_secs())
    }

    #[test]
    fn the_wait_follows_from_what_the_lanes_are_at() {
        assert_eq!(wait(&[], 0), 0);
        assert_eq!(wait(&[3], 0), 0, "the other lane is free");
        assert_eq!(wait(&[3], 1), 5, "it is for who stands ahead");
        assert_eq!(wait(&[3, 5], 0), 3);
        assert_eq!(wait(&[3, 5], 1), 5);
        assert_eq!(wait(&[3, 5], 2), 11);
        assert_eq!(wait(&[30, 30], 0), 2, "overdue, but not free");
    }

    fn lane(priority: Priority) -> BusyLane {
        BusyLane { priority, busy_ms: 0 }
    }

    #[test]
    fn people_in_lanes_do_not_stand_ahead() {
        let load = Load::new(2);
        let (_first, second) = (load.enter(), load.enter());
        load.observe(&[lane(Priority::Interactive)]);
        assert_eq!(load.expected_wait(&second), None);
        load.observe(&[lane(Priority::Interactive), lane(Priority::Batch)]);
        let wait = load.expected_wait(&second).unwrap();
        assert!(wait > Duration::from_millis(400) && wait <= load.service(), "{wait:?}");
    }

    #[test]
    fn who_comes_first_has_the_free_lane() {
        let load = Load::new(1);
        let (first, second) = (load.enter(), load.enter());
        assert_eq!(load.expected_wait(&first), None, "whoever came after it");
        assert_eq!(load.expected_wait(&second), Some(load.service()));
        drop(second);
        assert_eq!(load.people(), 1);
        load.begin_anew();
        assert_eq!(load.expected_wait(&load.enter()), None, "a new worker has free lanes");
        drop(first);
        assert_eq!(load.people(), 0);
    }
}
