//! Decides which connections nova ends when a listener comes close to its limit of connections. nova ends connections
//! without an open request, from the addresses with the most connections. If nova ended no connection, a client that
//! opens connections without sending requests could keep out all clients that come after it. nova ends connections
//! before the listener reaches its limit, so that no new connection has to wait.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::limit::client;
use super::patience::{Pace, Phase};

/// The number of connections that nova ends at a time. To choose connections, nova looks at all connections, so it
/// chooses many at once instead of one for each new connection.
const GIVE_WAY: usize = 64;
/// If a listener has room for fewer new connections than this, nova ends some connections.
pub(super) const FREE_MIN: usize = 2 * GIVE_WAY;

/// Every open connection that may have to end, in the order of arrival.
#[derive(Clone, Default)]
pub(super) struct Crowd(Arc<Mutex<Members>>);

#[derive(Default)]
struct Members {
    next: u64,
    open: BTreeMap<u64, Member>,
    /// The number of open connections that nova has chosen to end.
    chosen: usize,
}

struct Member {
    address: IpAddr,
    pace: Pace,
    leave: Arc<Notify>,
    chosen: bool,
}

/// One connection in the crowd. The connection leaves the crowd when this value is dropped.
pub(super) struct Guest {
    crowd: Crowd,
    number: u64,
    pace: Pace,
    leave: Arc<Notify>,
}

/// Whether the connection can end without loss, because it has no open request.
fn only_waited_for(pace: &Pace) -> bool {
    matches!(pace.phase(), Phase::New | Phase::Idle | Phase::Head)
}

impl Crowd {
    /// Adds a connection to the crowd. An IPv6 network of 64 bits counts as one address.
    pub fn enter(&self, address: IpAddr, pace: &Pace) -> Guest {
        let (pace, leave) = (pace.clone(), Arc::<Notify>::default());
        let mut members = self.0.lock();
        let number = members.next;
        members.next += 1;
        let member =
            Member { address: client::network(address), pace: pace.clone(), leave: Arc::clone(&leave), chosen: false };
        members.open.insert(number, member);
        Guest { crowd: self.clone(), number, pace, leave }
    }

    /// Chooses up to [`GIVE_WAY`] connections to end, the oldest connection of an address first. The function does
    /// nothing while [`GIVE_WAY`] chosen connections are still open.
    pub fn give_way(&self) {
        let mut members = self.0.lock();
        if members.chosen >= GIVE_WAY {
            return;
        }
        let mut counts = FxHashMap::<IpAddr, usize>::default();
        members.open.values().for_each(|member| *counts.entry(member.address).or_default() += 1);
        let waiting = members.open.iter().filter(|(_, member)| !member.chosen && only_waited_for(&member.pace));
        let order = |(number, member): (&u64, &Member)| (Reverse(counts.get(&member.address).copied()), *number);
        let mut waiting: Vec<_> = waiting.map(order).collect();
        if waiting.len() > GIVE_WAY {
            waiting.select_nth_unstable(GIVE_WAY);
            waiting.truncate(GIVE_WAY);
        }
        members.chosen += waiting.len();
        for (_, number) in waiting {
            if let Some(member) = members.open.get_mut(&number) {
                member.chosen = true;
                member.leave.notify_one();
            }
        }
    }
}

impl Guest {
    /// Waits until the connection has to end.
    pub async fn leaves(&self) {
        loop {
            self.leave.notified().await;
            // A request may have come since nova chose the connection.
            if only_waited_for(&self.pace) {
                return;
            }
            let mut members = self.crowd.0.lock();
            if let Some(member) = members.open.get_mut(&self.number) {
                member.chosen = false;
                members.chosen -= 1;
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut members = self.crowd.0.lock();
        let chosen = members.open.remove(&self.number).is_some_and(|member| member.chosen);
        members.chosen -= usize::from(chosen);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use proptest::prelude::*;

    use super::*;

    fn left(guest: &Guest) -> bool {
        pin!(guest.leaves()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    const PHASES: [Phase; 5] = [Phase::New, Phase::Idle, Phase::Head, Phase::Busy, Phase::Quiet];

    proptest! {
        /// No connection ends during a request. nova first ends connections of the address that has the most
        /// connections.
        #[test]
        fn who_gives_way_is_waited_for_and_of_a_crowded_address(
            guests in proptest::collection::vec((0..8u32, 0..5usize), 0..300),
        ) {
            let crowd = Crowd::default();
            let address = |n: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(n));
            let entered: Vec<_> = guests.iter().map(|(from, phase)| {
                let pace = Pace::default();
                pace.set(PHASES[*phase]);
                crowd.enter(address(*from), &pace)
            }).collect();
            crowd.give_way();
            let left: Vec<_> = entered.iter().map(self::left).collect();
            let waiting = guests.iter().filter(|(_, phase)| *phase < 3).count();
            prop_assert_eq!(left.iter().filter(|left| **left).count(), waiting.min(GIVE_WAY));
            let count = |from: u32| guests.iter().filter(|(other, _)| *other == from).count();
            for (at, (from, _)) in guests.iter().enumerate().filter(|(at, _)| left[*at]) {
                for (other, (other_from, phase)) in guests.iter().enumerate().filter(|(other, _)| !left[*other]) {
                    prop_assert!(*phase >= 3 || count(*other_from) <= count(*from), "{at} left before {other}");
                }
            }
            drop(entered);
            let members = crowd.0.lock();
            prop_assert!(members.open.is_empty() && members.chosen == 0);
        }
    }

    /// In an earlier version of nova, each new connection searched all connections and ended 64 connections, so new
    /// connections waited a tenth of a second.
    #[test]
    fn nobody_else_gives_way_before_those_that_were_chosen_have_ended() {
        let crowd = Crowd::default();
        let mut guests: Vec<_> =
            (0..3 * GIVE_WAY).map(|_| crowd.enter(IpAddr::from([10, 0, 0, 1]), &Pace::default())).collect();
        crowd.give_way();
        crowd.give_way();
        assert_eq!(guests.iter().filter(|guest| left(guest)).count(), GIVE_WAY);
        guests.remove(0);
        crowd.give_way();
        let left: Vec<_> = guests.iter().map(left).collect();
        assert_eq!(left.iter().position(|left| *left), Some(GIVE_WAY - 1), "those that came next");
        assert_eq!(left.iter().filter(|left| **left).count(), GIVE_WAY);
    }

    #[test]
    fn a_request_that_comes_after_the_choice_is_answered() {
        let (crowd, pace) = (Crowd::default(), Pace::default());
        let guest = crowd.enter(IpAddr::from([10, 0, 0, 1]), &pace);
        crowd.give_way();
        pace.set(Phase::Busy);
        assert!(!left(&guest));
        crowd.give_way();
        pace.set(Phase::Idle);
        assert!(!left(&guest), "busy when it was chosen");
        crowd.give_way();
        assert!(left(&guest));
    }
}
