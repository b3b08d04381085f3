//! How busy the lanes are, as far as the front knows, and what that means for who
//! asks next.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::Priority;
use crate::protocol::BusyLane;

/// Time of a thesis in its lane, until the first is measured.
const SERVICE_GUESS_US: u64 = 500_000;

/// The lanes of the worker that serves, and the people who wait for them.
#[derive(Debug)]
pub(super) struct Load {
    lanes: usize,
    /// Requests of people in flight.
    people: AtomicU32,
    /// Mean time of a thesis in its lane, in microseconds.
    service_us: AtomicU64,
    running: Mutex<Vec<Busy>>,
}

/// A lane at work.
#[derive(Debug, Clone, Copy)]
struct Busy {
    since: Instant,
    priority: Priority,
}

/// A person's request in flight.
#[derive(Debug)]
pub(super) struct Person(Arc<Load>);

impl Drop for Person {
    fn drop(&mut self) {
        self.0.people.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Load {
    pub(super) fn new(lanes: u32) -> Self {
        Self {
            lanes: lanes as usize,
            people: AtomicU32::new(0),
            service_us: AtomicU64::new(SERVICE_GUESS_US),
            running: Mutex::default(),
        }
    }

    /// Counts a person until the guard is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> Person {
        self.people.fetch_add(1, Ordering::Relaxed);
        Person(Arc::clone(self))
    }

    /// Returns how many people have requests in flight.
    pub(super) fn people(&self) -> u32 {
        self.people.load(Ordering::Relaxed)
    }

    /// Notes what the lanes of the serving worker are at.
    pub(super) fn observe(&self, running: &[BusyLane]) {
        let now = Instant::now();
        let busy = |lane: &BusyLane| Busy {
            since: now.checked_sub(Duration::from_millis(lane.busy_ms.into())).unwrap_or(now),
            priority: lane.priority,
        };
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) =
            running.iter().map(busy).collect();
    }

    /// Returns the mean time of a thesis in its lane.
    pub(super) fn service(&self) -> Duration {
        Duration::from_micros(self.service_us.load(Ordering::Relaxed))
    }

    /// Takes a thesis that was just decoded into the mean, with a weight of a fifth.
    pub(super) fn note_service(&self, service: Duration) {
        let service = u64::try_from(service.as_micros()).unwrap_or(u64::MAX / 8);
        let mean = self.service_us.load(Ordering::Relaxed);
        self.service_us.store((4 * mean + service) / 5, Ordering::Relaxed);
    }

    /// Returns how long the person who entered last is likely to wait for a lane.
    /// Elements of batches count where they are decoded; those that wait are
    /// overtaken.
    pub(super) fn expected_wait(&self) -> Duration {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let served = running.iter().filter(|lane| lane.priority == Priority::Interactive).count();
        let ahead = (self.people() as usize).saturating_sub(1 + served);
        let busy = running.iter().map(|lane| lane.since.elapsed());
        wait_for_lane(self.lanes, busy, ahead, self.service())
    }
}

/// Returns the time until a lane is free for who stands behind `ahead` others,
/// where every thesis takes `service` and some lanes have been busy for so long.
fn wait_for_lane(
    lanes: usize,
    busy: impl Iterator<Item = Duration>,
    ahead: usize,
    service: Duration,
) -> Duration {
    let mut free_in = vec![Duration::ZERO; lanes];
    for (free_in, busy) in free_in.iter_mut().zip(busy) {
        *free_in = service.saturating_sub(busy);
    }
    for _ in 0..ahead {
        if let Some(first) = free_in.iter_mut().min() {
            *first += service;
        }
    }
    free_in.into_iter().min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: Duration = Duration::from_secs(10);

    fn wait(busy: &[u64], ahead: usize) -> u64 {
        let busy = busy.iter().copied().map(Duration::from_secs);
        wait_for_lane(2, busy, ahead, SERVICE).as_secs()
    }

    #[test]
    fn the_wait_follows_from_what_the_lanes_are_at() {
        assert_eq!(wait(&[], 0), 0);
        assert_eq!(wait(&[3], 0), 0, "the other lane is free");
        assert_eq!(wait(&[3], 1), 7, "it is for who stands ahead");
        assert_eq!(wait(&[3, 8], 0), 2);
        assert_eq!(wait(&[3, 8], 1), 7);
        assert_eq!(wait(&[3, 8], 2), 12);
        assert_eq!(wait(&[30, 30], 0), 0, "longer than the mean: any moment now");
    }

    #[test]
    fn people_in_lanes_do_not_stand_ahead() {
        let load = Arc::new(Load::new(2));
        load.note_service(Duration::from_secs(3_600));
        let of = |priority| BusyLane { priority, busy_ms: 0 };
        let _first = load.enter();
        let _second = load.enter();
        load.observe(&[of(Priority::Interactive)]);
        assert_eq!(load.expected_wait(), Duration::ZERO);
        load.observe(&[of(Priority::Interactive), of(Priority::Batch)]);
        let wait = load.expected_wait();
        assert!(wait > Duration::from_secs(600) && wait <= load.service(), "{wait:?}");
        drop(load.enter());
        assert_eq!(load.people(), 2);
    }
}
