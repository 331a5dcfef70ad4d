//! Places for connections: so many in all, and so many for one address.
//!
//! # Rules
//! - R1. A connection that finds no place is closed at once: a client that is refused asks another
//!   server, one that waits does not.
//! - R2. One address has at most half of all places, so that nobody takes them all from one host.
//!   Of IPv6, an address is its /64: that much one host may have.
//! - R3. This host itself is not limited so: a proxy in front of the server has one address.
//!
//! And turns, for those that are connected and want something of which there is little: who must
//! wait does wait, and gets it in the order of asking, one address again half of all at most.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places of one listener.
#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    taken: Mutex<BTreeMap<IpAddr, usize>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    of: IpAddr,
}

impl Places {
    /// A listener with `most` places.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    /// A place for a connection from there, if there is one. (R1, R2, R3)
    pub(crate) fn take(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let of = site(from);
        let each = if of.is_loopback() { self.most } else { self.most / 2 };
        let mut taken = self.lock();
        let all: usize = taken.values().sum();
        let here = taken.get(&of).copied().unwrap_or(0);
        if all >= self.most || here >= each {
            return None;
        }
        taken.insert(of, here + 1);
        Some(Place { places: Arc::clone(self), of })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        match taken.get_mut(&self.of) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(&self.of)),
        }
    }
}

/// So many turns at once, and for one address half of them.
#[derive(Debug)]
pub(crate) struct Turns {
    most: usize,
    all: Arc<Semaphore>,
    sites: Mutex<BTreeMap<IpAddr, Arc<Semaphore>>>,
}

/// A turn, until it is dropped: that of its address, and one of all.
pub(crate) type Turn = [OwnedSemaphorePermit; 2];

impl Turns {
    /// `most` at once.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, all: Arc::new(Semaphore::new(most)), sites: Mutex::default() })
    }

    /// The next turn of somebody there.
    pub(crate) async fn take(&self, from: IpAddr) -> Turn {
        let site = self.site(from);
        let own = site.acquire_owned().await.expect("never closed");
        let one = Arc::clone(&self.all).acquire_owned().await.expect("never closed");
        [own, one]
    }

    fn site(&self, from: IpAddr) -> Arc<Semaphore> {
        let of = site(from);
        let each = if of.is_loopback() { self.most } else { self.most / 2 };
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody there holds or waits for.
        sites.retain(|_, turns| Arc::strong_count(turns) > 1);
        Arc::clone(sites.entry(of).or_insert_with(|| Arc::new(Semaphore::new(each))))
    }
}

/// The part of an address that one host cannot change at will. (R2)
fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(long) if !long.is_loopback() => {
            let mut octets = long.octets();
            octets[8..].fill(0);
            IpAddr::V6(octets.into())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(places: &Arc<Places>, from: &str, times: usize) -> Vec<Place> {
        let from = from.parse().expect("an address");
        (0..times).map_while(|_| places.take(from)).collect()
    }

    #[test]
    fn one_address_gets_half_of_the_places_and_all_together_get_all() {
        let places = Places::new(10);
        let one = take(&places, "192.0.2.1", 10);
        assert_eq!(one.len(), 5);
        let network = take(&places, "2001:db8::1", 2);
        let same = take(&places, "2001:db8::2", 10);
        assert_eq!((network.len(), same.len()), (2, 3), "one /64 is one address");
        assert!(places.take("198.51.100.1".parse().expect("an address")).is_none(), "all taken");
        drop(one);
        assert_eq!(take(&places, "::ffff:198.51.100.1", 10).len(), 5, "places come back");
    }

    #[test]
    fn who_waits_for_a_turn_gets_it_however_many_one_address_asks_for() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("it starts");
        let [greedy, other] =
            ["192.0.2.1", "198.51.100.1"].map(|from| from.parse().expect("an address"));
        runtime.block_on(async {
            let turns = Turns::new(4);
            let held = [turns.take(greedy).await, turns.take(greedy).await];
            let waits = Box::pin(turns.take(greedy));
            let mut waits = tokio::task::unconstrained(waits);
            let is_pending = std::future::poll_fn(|cx| {
                let polled = std::pin::Pin::new(&mut waits).poll(cx);
                std::task::Poll::Ready(polled.is_pending())
            });
            assert!(is_pending.await, "one address has half of them");
            let [_one, _two] = [turns.take(other).await, turns.take(other).await];
            drop(held);
            drop(waits.await);
            assert_eq!(turns.sites.lock().expect("whole").len(), 2);
            drop([_one, _two]);
            drop(turns.take(greedy).await);
            assert_eq!(turns.sites.lock().expect("whole").len(), 1, "nothing is remembered");
        });
    }

    #[test]
    fn a_proxy_on_this_host_may_take_all() {
        let places = Places::new(10);
        let held = take(&places, "127.0.0.1", 20);
        assert_eq!(held.len(), 10);
        drop(held);
        assert!(places.lock().is_empty());
    }
}
