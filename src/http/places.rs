//! How many of something each address has open. An IPv6 network of 64 bits is one address, see [`client::network`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::limit::client;

/// Counts by address; an address without any is not kept.
#[derive(Clone, Default)]
pub(super) struct Places(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One of them, until it is dropped.
pub(super) struct Place(Places, IpAddr);

impl Places {
    /// `None` when the address has `max` already.
    pub fn enter(&self, address: IpAddr, max: usize) -> Option<Place> {
        let address = client::network(address);
        let mut counts = self.0.lock();
        let count = counts.entry(address).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Place(self.clone(), address))
    }

    /// How many the address has.
    pub fn count(&self, address: IpAddr) -> usize {
        self.0.lock().get(&client::network(address)).copied().unwrap_or(0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.0.0.lock();
        if let Some(count) = counts.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_no_more_than_it_may_and_leaves_nothing_behind() {
        let (places, [a, b]) = (Places::default(), [1, 2].map(|n| IpAddr::from([10, 0, 0, n])));
        let held = (places.enter(a, 2), places.enter(a, 2), places.enter(b, 1));
        assert!(held.0.is_some() && held.1.is_some() && held.2.is_some());
        assert!(places.enter(a, 2).is_none() && places.enter(b, 1).is_none());
        drop(held.0);
        assert!(places.enter(a, 2).is_some());
        assert_eq!((places.count(a), places.count(b)), (1, 1));
        drop((held.1, held.2));
        assert!(places.0.lock().is_empty());
    }

    #[test]
    fn whoever_has_a_network_of_ipv6_has_one_place_for_all_of_it() {
        let (places, ip) = (Places::default(), |text: &str| text.parse::<IpAddr>().unwrap());
        let held = [places.enter(ip("2001:db8::1"), 2), places.enter(ip("2001:db8::ffff:2"), 2)];
        assert!(held.iter().all(Option::is_some) && places.enter(ip("2001:db8:0:0:9::"), 2).is_none());
        assert!(places.enter(ip("2001:db8:0:1::1"), 2).is_some());
        assert_eq!(places.count(ip("2001:db8::7")), 2);
        // An IPv4 address in IPv6 clothes is the IPv4 address.
        let _one = places.enter(ip("::ffff:10.0.0.1"), 1);
        assert!(places.enter(ip("10.0.0.1"), 1).is_none() && places.enter(ip("::ffff:10.0.0.2"), 1).is_some());
    }
}
