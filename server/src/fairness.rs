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
/// When to come back to an engine in which others have their turn.
const OTHERS: Duration = Duration::from_secs(1);

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

/// The people in the engine. While a tenant who was refused and holds nothing is
/// expected back, those who have not waited as long leave a lane free among them.
#[derive(Debug)]
pub(crate) struct Shares {
    lanes: usize,
    tenants: Mutex<Tenants>,
}

#[derive(Debug, Default)]
struct Tenants {
    /// Refusals so far, which order those who wait.
    refusals: u64,
    standings: BTreeMap<Tenant, Standing>,
}

#[derive(Debug, Default)]
struct Standing {
    held: usize,
    expected: Option<Expected>,
}

/// Someone who was refused.
#[derive(Debug, Clone, Copy)]
struct Expected {
    until: Instant,
    /// The refusal they have waited since.
    since: u64,
}

/// A person's request in the engine, until dropped.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Arc<Shares>,
    tenant: Tenant,
    /// The refusal the tenant had waited since.
    since: Option<u64>,
}

impl Shares {
    pub(crate) fn new(lanes: usize) -> Arc<Self> {
        Arc::new(Self { lanes, tenants: Mutex::default() })
    }

    /// Returns the share.
    ///
    /// # Errors
    /// Returns when to come back where it would be more than is fair.
    pub(crate) fn enter(self: &Arc<Self>, tenant: Tenant, now: Instant) -> Result<Share, Duration> {
        let mut tenants = lock(&self.tenants);
        tenants.forget_late(now);
        let others = || tenants.standings.iter().filter(|(other, _)| **other != tenant);
        let holders = others().filter(|(_, other)| other.held > 0).count();
        let longest = others().filter_map(|(_, other)| other.waits_since()).min();
        let own = tenants.standings.get(&tenant);
        let (held, since) = own.map_or((0, None), |own| (own.held, own.waits_since()));
        let shared = self.lanes.saturating_sub(1);
        let is_fair = longest.is_none_or(|longest| match held {
            0 => holders < shared || since.is_some_and(|since| since < longest),
            held => held < shared / (holders + 1),
        });
        if !is_fair {
            tenants.expect(tenant, since, now + OTHERS + GRACE);
            return Err(OTHERS);
        }
        let standing = tenants.standings.entry(tenant).or_default();
        standing.held += 1;
        standing.expected = None;
        Ok(Share { shares: Arc::clone(self), tenant, since })
    }

    /// Notes that the engine had no room for this request, which comes again.
    pub(crate) fn refused(&self, share: Share, now: Instant, retry_after: Duration) {
        let (tenant, since) = (share.tenant, share.since);
        drop(share);
        lock(&self.tenants).expect(tenant, since, now + retry_after + GRACE);
    }

    /// Tells whether someone who holds nothing is expected back.
    pub(crate) fn expect_someone(&self, now: Instant) -> bool {
        let mut tenants = lock(&self.tenants);
        tenants.forget_late(now);
        tenants.standings.values().any(|standing| standing.waits_since().is_some())
    }
}

impl Tenants {
    /// Expects a tenant until then, unless it is being served.
    fn expect(&mut self, tenant: Tenant, since: Option<u64>, until: Instant) {
        self.refusals += 1;
        let standing = self.standings.entry(tenant).or_default();
        if standing.held == 0 {
            let since = since.unwrap_or(self.refusals);
            standing.expected = Some(Expected { until, since });
        }
    }

    /// Forgets who neither holds anything nor is expected any more.
    fn forget_late(&mut self, now: Instant) {
        self.standings.retain(|_, standing| {
            standing.expected = standing.expected.filter(|expected| now < expected.until);
            standing.held > 0 || standing.expected.is_some()
        });
    }
}

impl Standing {
    /// The refusal since which the tenant has waited, with nothing in the engine.
    fn waits_since(&self) -> Option<u64> {
        self.expected.filter(|_| self.held == 0).map(|expected| expected.since)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(standing) = lock(&self.shares.tenants).standings.get_mut(&self.tenant) {
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

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
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

    /// Lets a tenant in and has the engine refuse it.
    fn refuse(shares: &Arc<Shares>, tenant: Tenant, now: Instant) {
        shares.refused(shares.enter(tenant, now).unwrap(), now, RETRY);
    }

    #[test]
    fn who_holds_much_makes_room_for_who_was_refused() {
        let (many, one, now) = (tenant(1), tenant(2), Instant::now());
        let shares = Shares::new(2);
        let mut held: Vec<Share> = (0..4).map(|_| shares.enter(many, now).unwrap()).collect();
        refuse(&shares, one, now);
        assert!(shares.expect_someone(now));
        assert!(shares.enter(many, now).is_err(), "another waits for its turn");
        held.truncate(1);
        assert!(shares.enter(many, now).is_err(), "a lane is left free");
        held.clear();
        let _theirs = shares.enter(many, now).unwrap();
        let _ours = shares.enter(one, now).unwrap();
        assert!(!shares.expect_someone(now));
        let _more = shares.enter(many, now).expect("nobody waits any more");
    }

    #[test]
    fn one_lane_goes_from_one_to_the_other() {
        let (greedy, polite, now) = (tenant(1), tenant(2), Instant::now());
        let shares = Shares::new(1);
        let share = shares.enter(greedy, now).unwrap();
        refuse(&shares, polite, now);
        drop(share);
        assert!(shares.enter(greedy, now).is_err(), "it is the other's turn");
        let share = shares.enter(polite, now).unwrap();
        assert!(shares.enter(tenant(3), now).is_err(), "the first has waited longer");
        drop(share);
        assert!(shares.enter(polite, now).is_err(), "it was just served");
        let _share = shares.enter(greedy, now).expect("it has waited longest");
    }

    #[test]
    fn who_does_not_come_back_is_forgotten() {
        let (many, one, now) = (tenant(1), tenant(2), Instant::now());
        let shares = Shares::new(2);
        let _first = shares.enter(many, now).unwrap();
        refuse(&shares, one, now);
        assert!(shares.enter(many, now).is_err());
        assert!(shares.enter(many, now + RETRY + GRACE).is_ok());
        assert_eq!(lock(&shares.tenants).standings.len(), 1);
    }

    #[test]
    fn who_is_served_does_not_wait() {
        let (many, one, now) = (tenant(1), tenant(2), Instant::now());
        let shares = Shares::new(2);
        let served = shares.enter(many, now).unwrap();
        refuse(&shares, many, now);
        drop(served);
        let _first = shares.enter(one, now).unwrap();
        let _second = shares.enter(one, now).expect("nobody was left with nothing");
    }

    #[test]
    fn many_who_wait_come_in_turn() {
        let (shares, now) = (Shares::new(2), Instant::now());
        (0..9).for_each(|last| refuse(&shares, tenant(last), now));
        let _lane = shares.enter(tenant(8), now).expect("one lane is left besides");
        assert!(shares.enter(tenant(7), now).is_err(), "others have waited longer");
        assert!(shares.enter(tenant(9), now).is_err(), "new addresses stand behind");
        let entered: Vec<_> = (0..8).map(|last| shares.enter(tenant(last), now)).collect();
        assert!(entered.iter().all(Result::is_ok), "the engine decides among them");
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
            // Everyone who still waits is served, in whatever order.
            while let Some(at) = waiting.iter_mut().position(|place| place.now_or_never().is_some())
            {
                drop(waiting.remove(at));
            }
            prop_assert!(waiting.is_empty());
            let queues = lock(&places.0);
            prop_assert_eq!(queues.free, 2);
            prop_assert!(queues.tenants.is_empty());
        }
    }
}
