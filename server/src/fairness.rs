//! A fair share of the engine for everyone who asks at the same time: who sends
//! many requests gets no more of a full engine than who sends few.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

/// Bits of an IPv6 address that its holder cannot choose at will.
const NETWORK: u128 = !(u64::MAX as u128);
/// How long beyond its `Retry-After` someone who was refused is waited for.
const GRACE: Duration = Duration::from_secs(2);

/// Who asks. Requests from one address, or one IPv6 network of 64 bits, are one
/// tenant's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tenant(IpAddr);

impl From<IpAddr> for Tenant {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & NETWORK).into(),
            address => address,
        })
    }
}

/// The people in the engine. While someone who was refused is expected back, the
/// others leave a lane free among them, and keep one each at least.
#[derive(Debug)]
pub(crate) struct Shares {
    lanes: usize,
    tenants: Mutex<BTreeMap<Tenant, Standing>>,
}

#[derive(Debug, Default)]
struct Standing {
    held: usize,
    expected_until: Option<Instant>,
}

/// A person's request in the engine, until dropped.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Arc<Shares>,
    tenant: Tenant,
}

impl Shares {
    pub(crate) fn new(lanes: usize) -> Arc<Self> {
        Arc::new(Self { lanes, tenants: Mutex::default() })
    }

    /// Returns the share, or none where it would be more than is fair.
    pub(crate) fn enter(self: &Arc<Self>, tenant: Tenant, now: Instant) -> Option<Share> {
        let mut tenants = lock(&self.tenants);
        tenants.retain(|_, standing| standing.held > 0 || standing.is_expected(now));
        let is_someone_starved =
            tenants.iter().any(|(other, standing)| *other != tenant && standing.held == 0);
        let holders = tenants.values().filter(|standing| standing.held > 0).count();
        let fair = (self.lanes.saturating_sub(1) / holders.max(1)).max(1);
        let standing = tenants.entry(tenant).or_default();
        if is_someone_starved && standing.held >= fair {
            return None;
        }
        standing.held += 1;
        standing.expected_until = None;
        Some(Share { shares: Arc::clone(self), tenant })
    }

    /// Notes that the engine had no room for this request, which comes again.
    pub(crate) fn refused(&self, share: Share, now: Instant, retry_after: Duration) {
        let expected_until = now + retry_after + GRACE;
        if let Some(standing) = lock(&self.tenants).get_mut(&share.tenant) {
            standing.expected_until = Some(expected_until);
        }
    }
}

impl Standing {
    fn is_expected(&self, now: Instant) -> bool {
        self.expected_until.is_some_and(|until| now < until)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(standing) = lock(&self.shares.tenants).get_mut(&self.tenant) {
            standing.held -= 1;
        }
    }
}

/// The places of batches in the engine. A free one goes to the tenant that has the
/// fewest, in turn among equals, and to its elements in their order.
#[derive(Debug)]
pub(crate) struct Places(Mutex<Queues>);

#[derive(Debug, Default)]
struct Queues {
    free: usize,
    /// Places given out.
    turn: u64,
    tenants: BTreeMap<Tenant, Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    held: usize,
    /// The turn in which the last place was given.
    last: u64,
    waiting: VecDeque<oneshot::Sender<Place>>,
}

/// A place, until dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    tenant: Tenant,
}

impl Places {
    pub(crate) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Queues { free: places, ..Queues::default() })))
    }

    /// Waits for a place.
    pub(crate) async fn acquire(self: &Arc<Self>, tenant: Tenant) -> Place {
        loop {
            let granted = {
                let mut queues = lock(&self.0);
                if queues.free > 0 {
                    queues.free -= 1;
                    queues.grant(tenant);
                    return Place { places: Arc::clone(self), tenant };
                }
                let (sender, granted) = oneshot::channel();
                queues.tenants.entry(tenant).or_default().waiting.push_back(sender);
                granted
            };
            if let Ok(place) = granted.await {
                return place;
            }
        }
    }
}

impl Queues {
    fn grant(&mut self, tenant: Tenant) {
        self.turn += 1;
        let queue = self.tenants.entry(tenant).or_default();
        queue.held += 1;
        queue.last = self.turn;
    }

    /// Takes back a place of `tenant` and returns whose it is now, if anyone waits.
    fn pass_on(&mut self, tenant: Tenant) -> Option<(Tenant, oneshot::Sender<Place>)> {
        if let Some(queue) = self.tenants.get_mut(&tenant) {
            queue.held -= 1;
        }
        self.tenants.retain(|_, queue| {
            queue.waiting.retain(|waiting| !waiting.is_closed());
            queue.held > 0 || !queue.waiting.is_empty()
        });
        let waiting = self.tenants.iter_mut().filter(|(_, queue)| !queue.waiting.is_empty());
        let next = waiting.min_by_key(|(_, queue)| (queue.held, queue.last));
        let Some((&next, queue)) = next else {
            self.free += 1;
            return None;
        };
        let sender = queue.waiting.pop_front()?;
        self.grant(next);
        Some((next, sender))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let next = lock(&self.places.0).pass_on(self.tenant);
        if let Some((tenant, sender)) = next {
            // A place that nobody takes is dropped here, and passed on again.
            drop(sender.send(Self { places: Arc::clone(&self.places), tenant }));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, future::join_all};
    use proptest::prelude::*;

    use super::*;

    const RETRY: Duration = Duration::from_secs(1);

    fn tenant(last: u8) -> Tenant {
        Tenant::from(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn a_tenant_is_a_host_or_a_network_of_64_bits() {
        let tenant = |text: &str| Tenant::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(tenant("::ffff:10.0.0.1"), tenant("10.0.0.1"));
        assert_ne!(tenant("10.0.0.2"), tenant("10.0.0.1"));
        assert_eq!(tenant("2001:db8::1"), tenant("2001:db8::ffff:2"));
        assert_ne!(tenant("2001:db8:0:1::1"), tenant("2001:db8:0:2::1"));
    }

    #[test]
    fn who_holds_much_makes_room_for_who_was_refused() {
        let (many, one, now) = (tenant(1), tenant(2), Instant::now());
        let shares = Shares::new(2);
        let mut held: Vec<Share> = (0..4).map(|_| shares.enter(many, now).unwrap()).collect();
        let share = shares.enter(one, now).unwrap();
        shares.refused(share, now, RETRY);
        assert!(shares.enter(many, now).is_none(), "another waits for its turn");
        held.truncate(1);
        assert!(shares.enter(many, now).is_none(), "a lane is left free");
        held.clear();
        let kept = shares.enter(many, now).unwrap();
        let _ours = shares.enter(one, now).unwrap();
        let _more = shares.enter(many, now).expect("nobody waits any more");
        drop(kept);
    }

    #[test]
    fn who_does_not_come_back_is_forgotten() {
        let (many, one, now) = (tenant(1), tenant(2), Instant::now());
        let shares = Shares::new(2);
        let _first = shares.enter(many, now).unwrap();
        shares.refused(shares.enter(one, now).unwrap(), now, RETRY);
        assert!(shares.enter(many, now).is_none());
        assert!(shares.enter(many, now + RETRY + GRACE).is_some());
        assert_eq!(lock(&shares.tenants).len(), 1);
    }

    #[test]
    fn many_who_wait_do_not_shut_each_other_out() {
        let (shares, now) = (Shares::new(2), Instant::now());
        for last in 0..9 {
            shares.refused(shares.enter(tenant(last), now).unwrap(), now, RETRY);
        }
        let entered: Vec<_> = (0..9).filter_map(|last| shares.enter(tenant(last), now)).collect();
        assert_eq!(entered.len(), 9, "the engine decides among them");
    }

    #[tokio::test]
    async fn a_short_batch_does_not_wait_for_a_long_one() {
        let places = Places::new(2);
        let (long, short) = (tenant(1), tenant(2));
        let mut order = Vec::new();
        let mut held = VecDeque::from([places.acquire(long).await, places.acquire(long).await]);
        let mut waiting: Vec<_> = [long; 6]
            .into_iter()
            .chain([short; 2])
            .map(|tenant| {
                let mut waiting = Box::pin(places.acquire(tenant));
                assert!((&mut waiting).now_or_never().is_none());
                waiting
            })
            .collect();
        while !waiting.is_empty() {
            held.pop_front();
            let granted = waiting.iter_mut().map(|waiting| waiting.now_or_never());
            let granted: Vec<_> = granted.collect();
            let index = granted.iter().position(Option::is_some).unwrap();
            let place = granted.into_iter().flatten().next().unwrap();
            drop(waiting.remove(index));
            order.push(place.tenant);
            held.push_back(place);
        }
        assert_eq!(order[..4], [short, long, short, long]);
        drop(held);
        assert_eq!(lock(&places.0).free, 2);
    }

    proptest! {
        #[test]
        fn no_place_is_lost_whoever_gives_up(steps in prop::collection::vec((0u8..3, 0u8..4), 1..80)) {
            let places = Places::new(2);
            let mut waiting = VecDeque::new();
            let mut held = VecDeque::new();
            for (step, who) in steps {
                match step {
                    0 => {
                        let mut place = Box::pin({
                            let places = Arc::clone(&places);
                            async move { places.acquire(tenant(who)).await }
                        });
                        match (&mut place).now_or_never() {
                            Some(place) => held.push_back(place),
                            None => waiting.push_back(place),
                        }
                    }
                    // Gives up, granted or not.
                    1 => drop(waiting.pop_front()),
                    _ => drop(held.pop_front()),
                }
            }
            held.clear();
            // All who still wait get their place, whoever else has gone.
            let all = join_all(waiting).now_or_never();
            prop_assert!(all.is_none_or(|places| places.len() < 3));
            let queues = lock(&places.0);
            prop_assert_eq!(queues.free, 2);
            prop_assert!(queues.tenants.is_empty());
        }
    }
}
