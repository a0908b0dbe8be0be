//! Connections: how many, how long one may do nothing, and who goes when there is no room.
//!
//! A connection *rests* while no request of it was let in: before the handshake is done, while a
//! head comes in, while a body comes in from who has not logged in, between requests. One that rests too long is closed, and when there is
//! no room, the one that rests longest makes room: so whoever opens any number of connections and
//! sends nothing, or byte by byte, takes no place from who has something to do.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::app::Limits;
use super::client_addr::{AddrBucket, ClientAddr};
use crate::store::{lock, random};

/// All connections that are open.
#[derive(Debug)]
pub(super) struct Connections {
    limits: Limits,
    /// Under which addresses are counted.
    key: [u8; 32],
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    open: HashMap<u64, Arc<Pulse>>,
    by_address: HashMap<AddrBucket, usize>,
}

impl Held {
    fn remove(&mut self, id: u64) -> Option<Arc<Pulse>> {
        let pulse = self.open.remove(&id)?;
        if let Some(count) = self.by_address.get_mut(&pulse.bucket) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&pulse.bucket);
            }
        }
        Some(pulse)
    }

    /// Closes the one that rests longest, of an address or of all. False if none rests.
    fn evict(&mut self, of: Option<AddrBucket>) -> bool {
        let resting = self.open.iter().filter(|(_, pulse)| of.is_none_or(|b| pulse.bucket == b));
        let longest =
            resting.filter_map(|(id, pulse)| pulse.resting_since().map(|since| (since, *id))).min();
        match longest.and_then(|(_, id)| self.remove(id)) {
            Some(pulse) => {
                pulse.evicted.notify_one();
                true
            }
            None => false,
        }
    }
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, key: random(), held: Mutex::default() }
    }

    /// A place for a new connection; `None` if all are taken by who is busy.
    pub(super) fn admit(self: &Arc<Self>, peer: ClientAddr) -> Option<Place> {
        let bucket = peer.bucket(&self.key);
        let mut held = lock(&self.held);
        let of_address = held.by_address.get(&bucket).copied().unwrap_or_default();
        let full = held.open.len() >= self.limits.connections;
        if of_address >= self.limits.per_address && !held.evict(Some(bucket)) {
            return None;
        }
        if full && held.open.len() >= self.limits.connections && !held.evict(None) {
            return None;
        }
        let id = held.next;
        held.next += 1;
        let pulse = Arc::new(Pulse::new(bucket, self.limits));
        held.open.insert(id, Arc::clone(&pulse));
        *held.by_address.entry(bucket).or_default() += 1;
        Some(Place { connections: Arc::clone(self), id, pulse })
    }

    /// The system has no room for more: closes one that rests.
    pub(super) fn make_room(&self) -> bool {
        lock(&self.held).evict(None)
    }
}

/// The place of one connection. Dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Place {
    connections: Arc<Connections>,
    id: u64,
    pub(super) pulse: Arc<Pulse>,
}

impl Drop for Place {
    fn drop(&mut self) {
        // Gone already if it was evicted.
        drop(lock(&self.connections.held).remove(self.id));
    }
}

/// What a connection is doing.
#[derive(Debug)]
pub(super) struct Pulse {
    bucket: AddrBucket,
    limits: Limits,
    state: Mutex<State>,
    evicted: Notify,
}

#[derive(Debug)]
struct State {
    next: u64,
    /// When the last request was done, or the connection made.
    since: Instant,
    /// The requests that are being dealt with.
    requests: HashMap<u64, Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    /// It was let in.
    admitted: bool,
    /// The length of its answer.
    length: u64,
    /// When its answer began, and how much of it was taken.
    answer: Option<(Instant, u64)>,
}

impl Pulse {
    fn new(bucket: AddrBucket, limits: Limits) -> Self {
        let state = State { next: 0, since: Instant::now(), requests: HashMap::new() };
        Self { bucket, limits, state: Mutex::new(state), evicted: Notify::new() }
    }

    fn resting_since(&self) -> Option<Instant> {
        let state = lock(&self.state);
        let busy = state.requests.values().any(|request| request.admitted);
        (!busy).then_some(state.since)
    }

    /// A request begins.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        let mut state = lock(&self.state);
        let id = state.next;
        state.next += 1;
        state.requests.insert(id, Progress::default());
        Busy { pulse: Arc::clone(self), id }
    }

    /// Until when it may go on like this; `None` while only the server is at work.
    fn deadline(&self) -> Option<Instant> {
        let state = lock(&self.state);
        if state.requests.is_empty() {
            return state.since.checked_add(self.limits.head);
        }
        let answers = state.requests.values();
        answers
            .filter_map(|request| {
                let (start, taken) = request.answer?;
                let earned = Duration::from_secs(taken / self.limits.floor(request.length));
                start.checked_add(self.limits.grace)?.checked_add(earned)
            })
            .min()
    }

    /// Ends when the connection is to be closed.
    pub(super) async fn expired(&self) {
        loop {
            // Deadlines only move away: looking again when one has passed is enough.
            let soon = Instant::now() + self.limits.head.min(self.limits.grace);
            let next = self.deadline().unwrap_or(soon).min(soon);
            tokio::select! {
                () = self.evicted.notified() => return,
                () = sleep_until(next) => {}
            }
            if self.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
                return;
            }
        }
    }
}

/// A request that is being dealt with.
#[derive(Debug)]
pub(super) struct Busy {
    pulse: Arc<Pulse>,
    id: u64,
}

impl Busy {
    /// What lets the request in.
    pub(super) fn ticket(&self) -> Ticket {
        Ticket { pulse: Arc::clone(&self.pulse), id: self.id }
    }

    /// There is an answer of so many bytes.
    pub(super) fn answers(&self, length: u64) {
        if let Some(request) = lock(&self.pulse.state).requests.get_mut(&self.id) {
            request.length = length;
        }
    }

    /// The client took so many bytes more of the answer.
    pub(super) fn taken(&self, bytes: usize) {
        let mut state = lock(&self.pulse.state);
        let Some(request) = state.requests.get_mut(&self.id) else {
            return;
        };
        let (_, taken) = request.answer.get_or_insert_with(|| (Instant::now(), 0));
        *taken = taken.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = lock(&self.pulse.state);
        state.requests.remove(&self.id);
        state.since = Instant::now();
    }
}

/// Travels with a request, to say that it was let in.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    pulse: Arc<Pulse>,
    id: u64,
}

impl Ticket {
    /// From now on the connection does not make room for others until this request is done.
    pub(super) fn admit(&self) {
        let mut state = lock(&self.pulse.state);
        if let Some(request) = state.requests.get_mut(&self.id) {
            request.admitted = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn addr(last: u8) -> ClientAddr {
        IpAddr::V4(Ipv4Addr::new(203, 0, 113, last)).into()
    }

    fn of(connections: usize, per_address: usize) -> Arc<Connections> {
        let limits = Limits { connections, per_address, ..Limits::default() };
        Arc::new(Connections::new(limits))
    }

    fn evicted(place: &Place) -> bool {
        !lock(&place.connections.held).open.contains_key(&place.id)
    }

    #[tokio::test]
    async fn who_rests_longest_makes_room() {
        let connections = of(2, 2);
        let first = connections.admit(addr(1)).unwrap();
        let busy = connections.admit(addr(2)).unwrap();
        let request = busy.pulse.begin();
        request.ticket().admit();
        let third = connections.admit(addr(3)).unwrap();
        assert!(evicted(&first) && !evicted(&busy));
        first.pulse.expired().await;
        let also = third.pulse.begin();
        also.ticket().admit();
        assert!(connections.admit(addr(4)).is_none(), "all are busy");
        assert!(!connections.make_room());
        drop(also);
        assert!(connections.make_room());
        assert!(evicted(&third));
        drop((request, busy, first, third));
        assert!(lock(&connections.held).open.is_empty());
        assert!(lock(&connections.held).by_address.is_empty());
    }

    #[test]
    fn an_address_makes_room_for_itself() {
        let connections = of(10, 2);
        let theirs = connections.admit(addr(1)).unwrap();
        let ours: Vec<_> = (0..3).map(|_| connections.admit(addr(2)).unwrap()).collect();
        assert!(!evicted(&theirs), "it rests longest, but is of another address");
        assert_eq!(ours.iter().filter(|place| evicted(place)).count(), 1);
    }

    #[test]
    fn rest_and_slow_readers_have_deadlines() {
        let seconds = Duration::from_secs;
        let place = of(10, 10).admit(addr(1)).unwrap();
        let since = place.pulse.resting_since().unwrap();
        assert_eq!(place.pulse.deadline(), Some(since + seconds(10)));
        let (fast, slow) = (place.pulse.begin(), place.pulse.begin());
        assert_eq!(place.pulse.resting_since(), Some(since), "nobody was let in");
        slow.ticket().admit();
        assert!(place.pulse.resting_since().is_none());
        assert_eq!(place.pulse.deadline(), None, "the server may take its time");
        // 8192 bytes a second, after a grace of 20 s; a long one twice as fast, to be through in time.
        let before = Instant::now();
        fast.answers(1800 * 16384);
        fast.taken(400 * 16384);
        slow.taken(39 * 8192);
        slow.taken(8192);
        let after = Instant::now();
        let deadline = place.pulse.deadline().unwrap();
        assert!((before + seconds(60)..=after + seconds(60)).contains(&deadline));
        drop(slow);
        assert!(place.pulse.deadline().unwrap() >= before + seconds(420));
        drop(fast);
        assert!(place.pulse.resting_since().unwrap() >= after);
    }

    #[tokio::test]
    async fn rest_ends() {
        let limits = Limits { head: Duration::from_millis(1), ..Limits::default() };
        let place = Arc::new(Connections::new(limits)).admit(addr(1)).unwrap();
        let since = place.pulse.resting_since().unwrap();
        place.pulse.expired().await;
        assert!(since.elapsed() >= limits.head);
    }
}
