//! Who gives way when every place of a listener is taken: connections that are only waited for, of the addresses that have
//! most of them. Else whoever holds places without asking for anything would keep everybody else out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::limit::client;
use super::patience::{Pace, Phase};

/// Connections that give way at once: finding them looks at all.
const GIVE_WAY: usize = 64;

/// Every open connection that may have to give way, by the order in which they came.
#[derive(Clone, Default)]
pub(super) struct Crowd(Arc<Mutex<Members>>);

#[derive(Default)]
struct Members {
    next: u64,
    open: BTreeMap<u64, Member>,
}

struct Member {
    address: IpAddr,
    pace: Pace,
    leave: Arc<Notify>,
}

/// One of them, until it is dropped.
pub(super) struct Guest {
    crowd: Crowd,
    number: u64,
    pace: Pace,
    leave: Arc<Notify>,
}

/// Whether nothing is lost with the connection: no request of it is whole.
fn only_waited_for(pace: &Pace) -> bool {
    matches!(pace.phase(), Phase::New | Phase::Idle | Phase::Head)
}

impl Crowd {
    /// An IPv6 network of 64 bits is one address.
    pub fn enter(&self, address: IpAddr, pace: &Pace) -> Guest {
        let (pace, leave) = (pace.clone(), Arc::<Notify>::default());
        let mut members = self.0.lock();
        let number = members.next;
        members.next += 1;
        let member = Member { address: client::network(address), pace: pace.clone(), leave: Arc::clone(&leave) };
        members.open.insert(number, member);
        Guest { crowd: self.clone(), number, pace, leave }
    }

    /// Has some end; those of one address the oldest first.
    pub fn give_way(&self) {
        let members = self.0.lock();
        let mut counts = FxHashMap::<IpAddr, usize>::default();
        members.open.values().for_each(|member| *counts.entry(member.address).or_default() += 1);
        let mut waiting: Vec<_> = members.open.iter().filter(|(_, member)| only_waited_for(&member.pace)).collect();
        waiting.sort_by_key(|(number, member)| (std::cmp::Reverse(counts.get(&member.address)), **number));
        waiting.iter().take(GIVE_WAY).for_each(|(_, member)| member.leave.notify_one());
    }
}

impl Guest {
    /// Ends when the connection has to give way.
    pub async fn leaves(&self) {
        loop {
            self.leave.notified().await;
            // Its request may have come since.
            if only_waited_for(&self.pace) {
                return;
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.crowd.0.lock().open.remove(&self.number);
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
        /// Nobody leaves in the middle of a request, and nobody while an address with more could.
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
            prop_assert!(crowd.0.lock().open.is_empty());
        }
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
