//! A line in which addresses take turns, however many of each wait: the order of it alone, without time and threads.

use std::net::IpAddr;

use crate::auth::share::gives_way;

/// Those who wait. A turn is dealt to the address that has had the fewest since it began to wait, and there to the name
/// that had the fewest waiting before it.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    most: usize,
    // In the order in which they came.
    waiting: Vec<Waiter<T>>,
    // The round of the latest turn.
    round: u64,
}

#[derive(Debug)]
struct Waiter<T> {
    from: IpAddr,
    name: String,
    // The round in which its address has a turn for it.
    round: u64,
    // How many of its name and address waited when it came.
    before: usize,
    what: T,
}

impl<T> FairQueue<T> {
    /// An empty line. `most` is how many may wait in it.
    pub(super) fn new(most: usize) -> Self {
        Self { most, waiting: Vec::new(), round: 0 }
    }

    /// Puts a newcomer into the line. A full line gives one back: the newest of the name that holds the most places, or
    /// the newcomer itself.
    pub(super) fn enter(&mut self, from: IpAddr, name: &str, what: T) -> Option<T> {
        let mut left = None;
        if self.waiting.len() >= self.most {
            let held = self.waiting.iter().map(|waiting| (waiting.from, waiting.name.as_str()));
            let newest = gives_way(held, (from, name)).and_then(|(from, name)| {
                self.waiting.iter().rposition(|waiting| waiting.from == from && waiting.name == name)
            });
            match newest {
                Some(newest) => left = Some(self.take(newest)),
                None => return Some(what),
            }
        }
        let of_address = || self.waiting.iter().filter(|waiting| waiting.from == from);
        let round = of_address().map(|waiting| waiting.round).max().unwrap_or_default().max(self.round) + 1;
        let before = of_address().filter(|waiting| waiting.name == name).count();
        self.waiting.push(Waiter { from, name: name.to_owned(), round, before, what });
        left
    }

    /// Whose turn it is.
    pub(super) fn next(&mut self) -> Option<T> {
        let first = self.waiting.iter().min_by_key(|waiting| waiting.round)?;
        let (from, round) = (first.from, first.round);
        let of_address = self.waiting.iter().enumerate().filter(|(_, waiting)| waiting.from == from);
        let (index, _) = of_address.min_by_key(|(_, waiting)| waiting.before)?;
        self.round = round;
        // The address has used its turn of that round, whichever of its names took it.
        self.swap_rounds(from, index, round);
        Some(self.take(index))
    }

    /// Forgets those who do not wait any more.
    pub(super) fn retain(&mut self, is_waiting: impl Fn(&T) -> bool) {
        self.waiting.retain(|waiting| is_waiting(&waiting.what));
    }

    fn swap_rounds(&mut self, from: IpAddr, index: usize, round: u64) {
        let own = self.waiting[index].round;
        if let Some(other) = self.waiting.iter_mut().find(|other| other.from == from && other.round == round) {
            other.round = own;
        }
    }

    fn take(&mut self, index: usize) -> T {
        self.waiting.remove(index).what
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn at(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn rest<T>(line: &mut FairQueue<T>) -> Vec<T> {
        std::iter::from_fn(|| line.next()).collect()
    }

    #[test]
    fn addresses_take_turns_however_many_of_each_wait() {
        let mut line = FairQueue::new(64);
        for number in 0..20 {
            assert!(line.enter(at(1), &format!("account {number}"), (1, number)).is_none());
        }
        line.enter(at(2), "bob", (2, 0));
        line.enter(at(2), "bob", (2, 1));
        let order = rest(&mut line);
        assert_eq!(order[..4], [(1, 0), (2, 0), (1, 1), (2, 1)]);
        assert_eq!(order.len(), 22);
    }

    #[test]
    fn an_address_that_has_not_waited_has_saved_up_no_turns_and_lost_none() {
        let mut line = FairQueue::new(64);
        for number in 0..10 {
            line.enter(at(1), "alice", (1, number));
        }
        for _ in 0..5 {
            line.next();
        }
        for number in 0..3 {
            line.enter(at(2), "bob", (2, number));
        }
        assert_eq!(rest(&mut line)[..6], [(1, 5), (2, 0), (1, 6), (2, 1), (1, 7), (2, 2)]);
    }

    #[test]
    fn within_an_address_a_name_with_many_waiting_does_not_hold_up_another() {
        let mut line = FairQueue::new(64);
        for number in 0..10 {
            line.enter(at(1), "alice", ("alice", number));
        }
        line.enter(at(1), "bob", ("bob", 0));
        assert_eq!(rest(&mut line)[..3], [("alice", 0), ("bob", 0), ("alice", 1)]);
    }

    #[test]
    fn a_full_line_has_room_for_a_newcomer_until_all_have_the_same() {
        let mut line = FairQueue::new(4);
        for number in 0..4 {
            assert_eq!(line.enter(at(1), "alice", (1, number)), None);
        }
        assert_eq!(line.enter(at(1), "alice", (1, 4)), Some((1, 4)), "it has all of it already");
        assert_eq!(line.enter(at(2), "bob", (2, 0)), Some((1, 3)), "the newest of the greediest leaves");
        assert_eq!(line.enter(at(3), "carol", (3, 0)), Some((1, 2)));
        assert_eq!(line.enter(at(4), "dave", (4, 0)), Some((1, 1)));
        assert_eq!(line.enter(at(5), "erin", (5, 0)), Some((5, 0)), "all have one");
        line.retain(|what| *what != (2, 0));
        assert_eq!(rest(&mut line), [(1, 0), (3, 0), (4, 0)]);
    }
}
