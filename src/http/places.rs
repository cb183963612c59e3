//! Counts how many connections or streams each address has open. An IPv6 network of 64 bits counts as one address; see
//! [`client::network`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::limit::client;

/// The counts by address. An address with a count of 0 has no entry.
#[derive(Clone)]
pub(crate) struct Places {
    /// An address is crowded if its count is higher than this.
    crowd: usize,
    addresses: Arc<Mutex<HashMap<IpAddr, Held>>>,
}

#[derive(Default)]
struct Held {
    count: usize,
    /// When the address last became crowded, or stopped being crowded.
    crowded: Option<Instant>,
}

/// One counted connection or stream of an address. The count falls when this value is dropped.
pub(crate) struct Place(Places, IpAddr);

impl Places {
    pub fn new(crowd: usize) -> Places {
        Places { crowd, addresses: Arc::default() }
    }

    /// Counts one more connection or stream of an address, or returns `None` if the count is already `max`.
    pub fn enter(&self, address: IpAddr, max: usize) -> Option<Place> {
        let address = client::network(address);
        let mut addresses = self.addresses.lock();
        let held = addresses.entry(address).or_default();
        if held.count >= max {
            return None;
        }
        held.count += 1;
        if held.count == self.crowd.saturating_add(1) {
            held.crowded = Some(Instant::now());
        }
        Some(Place(self.clone(), address))
    }

    /// Whether the address was crowded at any time since `since`.
    pub fn crowded_since(&self, address: IpAddr, since: Instant) -> bool {
        let addresses = self.addresses.lock();
        let crowded = |held: &Held| held.count > self.crowd || held.crowded.is_some_and(|at| at >= since);
        addresses.get(&client::network(address)).is_some_and(crowded)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let crowd = self.0.crowd;
        let mut addresses = self.0.addresses.lock();
        if let Some(held) = addresses.get_mut(&self.1) {
            held.count -= 1;
            if held.count == crowd {
                held.crowded = Some(Instant::now());
            }
            if held.count == 0 {
                addresses.remove(&self.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_no_more_than_it_may_and_leaves_nothing_behind() {
        let (places, [a, b]) = (Places::new(usize::MAX), [1, 2].map(|n| IpAddr::from([10, 0, 0, n])));
        let held = (places.enter(a, 2), places.enter(a, 2), places.enter(b, 1));
        assert!(held.0.is_some() && held.1.is_some() && held.2.is_some());
        assert!(places.enter(a, 2).is_none() && places.enter(b, 1).is_none());
        drop(held.0);
        assert!(places.enter(a, 2).is_some());
        assert_eq!([a, b].map(|address| places.addresses.lock()[&address].count), [1, 1]);
        drop((held.1, held.2));
        assert!(places.addresses.lock().is_empty());
    }

    #[test]
    fn whoever_has_a_network_of_ipv6_has_one_place_for_all_of_it() {
        let (places, ip) = (Places::new(usize::MAX), |text: &str| text.parse::<IpAddr>().unwrap());
        let held = [places.enter(ip("2001:db8::1"), 2), places.enter(ip("2001:db8::ffff:2"), 2)];
        assert!(held.iter().all(Option::is_some) && places.enter(ip("2001:db8:0:0:9::"), 2).is_none());
        assert!(places.enter(ip("2001:db8:0:1::1"), 2).is_some());
        // An IPv4 address that is written as IPv6 counts as the IPv4 address.
        let _one = places.enter(ip("::ffff:10.0.0.1"), 1);
        assert!(places.enter(ip("10.0.0.1"), 1).is_none() && places.enter(ip("::ffff:10.0.0.2"), 1).is_some());
    }

    /// In an earlier version of nova, a crowded address stopped being crowded when its first idle connections ended,
    /// and nova kept the rest of its idle connections.
    #[test]
    fn an_address_was_a_crowd_also_where_most_of_it_has_ended() {
        let (places, a) = (Places::new(2), IpAddr::from([10, 0, 0, 1]));
        let begun = Instant::now();
        let held = [0; 2].map(|_| places.enter(a, 9));
        assert!(!places.crowded_since(a, begun));
        let third = places.enter(a, 9);
        assert!(places.crowded_since(a, Instant::now() + std::time::Duration::from_secs(9)));
        drop(third);
        let ended = Instant::now();
        assert!(places.crowded_since(a, begun));
        assert!(!places.crowded_since(a, ended + std::time::Duration::from_nanos(1)));
        drop(held);
        assert!(!places.crowded_since(a, begun) && places.addresses.lock().is_empty());
    }
}
