//! Memory that bodies or answers share, and who gets it when there is not enough.
//!
//! A *part* is reserved whole at first. A body that comes too slowly for that *falls behind*: it
//! keeps what has arrived and asks for the rest step by step, so that what is only announced takes
//! nothing from others. Those who hold a part and wait for more could wait for each other for ever;
//! they do not, for three reasons, each enough by itself:
//!
//! 1. A step is given only if all who still need one can be done in some order, each with what is
//!    free then (the banker's rule), within the lane, the share of each owner and what the slow ones
//!    may hold together. Two things change what is held besides a step, and neither breaks this.
//!    A new part is reserved whole: it needs nothing more, and so gives back all by itself. One that
//!    falls behind frees what it does not hold yet, so it can be the first to be done.
//! 2. Every wait ends, after [`TURN`] or [`STEP_TURN`]: with what was asked for, or with a refusal and all given back.
//! 3. Every body ends: its pace has a floor, and so a longest time.
//!
//! Who asks for a step goes before who asks for a part: what it holds comes back with it. New parts
//! go in the order in which they were asked for; those whose owner has its share already are passed.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use unseen_common::id::VaultId;
use unseen_common::vault::VaultError;

use super::client_addr::AddrBucket;
use super::failure::Failure;
use crate::store::lock;

/// How long a request waits for its turn.
pub(super) const TURN: Duration = Duration::from_secs(30);
/// How long one that holds a part waits for a step: it would lose what has arrived.
const STEP_TURN: Duration = Duration::from_secs(120);
/// Who waits for so long makes the server not ready.
const LONG: Duration = Duration::from_secs(10);
/// And so does a refusal, for so long.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Whose memory it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    /// An account, whoever of it asks.
    Account(VaultId),
    /// An address, before there is a login.
    Address(AddrBucket),
    /// Who has no address.
    Nobody,
}

/// How much there is, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// For all together.
    pub(super) whole: usize,
    /// For one owner; no less than the longest part.
    pub(super) share: usize,
    /// For all that have fallen behind; no less than the longest part.
    pub(super) slow: usize,
}

/// There was no room in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom;

impl From<NoRoom> for Failure {
    fn from(_: NoRoom) -> Self {
        VaultError::Busy(5).into()
    }
}

/// Some memory with its own rules. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Lane(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    size: Size,
    state: Mutex<State>,
}

#[derive(Debug)]
struct Part {
    owner: Owner,
    held: usize,
    /// What it will still ask for.
    left: usize,
    slow: bool,
}

#[derive(Debug)]
struct Waiter {
    part: u64,
    want: usize,
    since: Instant,
    tell: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    parts: HashMap<u64, Part>,
    used: usize,
    slow: usize,
    by_owner: HashMap<Owner, usize>,
    steps: VecDeque<Waiter>,
    new: VecDeque<Waiter>,
    refused: Option<Instant>,
}

impl State {
    fn of(&self, owner: Owner) -> usize {
        self.by_owner.get(&owner).copied().unwrap_or_default()
    }

    /// Sets what a part holds.
    fn hold(&mut self, id: u64, held: usize) {
        let Some(part) = self.parts.get_mut(&id) else {
            return;
        };
        let before = mem::replace(&mut part.held, held);
        let owners = self.by_owner.entry(part.owner).or_default();
        *owners = *owners + held - before;
        if *owners == 0 {
            self.by_owner.remove(&part.owner);
        }
        self.used = self.used + held - before;
        if part.slow {
            self.slow = self.slow + held - before;
        }
    }

    /// Whether its owner has too much for this already, however much room there is.
    fn is_beyond_share(&self, size: &Size, waiter: &Waiter) -> bool {
        self.parts
            .get(&waiter.part)
            .is_some_and(|part| self.of(part.owner) + waiter.want.max(part.left) > size.share)
    }

    /// Whether all who still need more can be done in some order.
    fn is_safe(&self, size: &Size) -> bool {
        let mut rest: Vec<&Part> = self.parts.values().filter(|part| part.left > 0).collect();
        let (mut used, mut slow, mut owners) = (0, 0, HashMap::<Owner, usize>::new());
        for part in &rest {
            used += part.held;
            slow += if part.slow { part.held } else { 0 };
            *owners.entry(part.owner).or_default() += part.held;
        }
        let fits = |part: &Part, used: usize, slow: usize, of: usize| {
            used + part.left <= size.whole
                && of + part.left <= size.share
                && slow + part.left <= size.slow
        };
        while let Some(at) = rest.iter().position(|part| {
            fits(part, used, slow, owners.get(&part.owner).copied().unwrap_or_default())
        }) {
            let done = rest.swap_remove(at);
            used -= done.held;
            slow -= if done.slow { done.held } else { 0 };
            if let Some(of) = owners.get_mut(&done.owner) {
                *of -= done.held;
            }
        }
        rest.is_empty()
    }

    /// Gives a part what it waits for, if that may be.
    fn give(&mut self, size: &Size, waiter: &Waiter) -> bool {
        let Some(part) = self.parts.get(&waiter.part) else {
            // It was given up.
            return true;
        };
        let (held, left, slow) = (part.held, part.left, part.slow);
        let fits = self.used + waiter.want <= size.whole
            && self.of(part.owner) + waiter.want <= size.share
            && (!slow || self.slow + waiter.want <= size.slow);
        if !fits {
            return false;
        }
        self.hold(waiter.part, held + waiter.want);
        if left == 0 {
            return true;
        }
        self.set_left(waiter.part, left.saturating_sub(waiter.want));
        let safe = self.is_safe(size);
        if !safe {
            self.hold(waiter.part, held);
            self.set_left(waiter.part, left);
        }
        safe
    }

    fn set_left(&mut self, id: u64, left: usize) {
        if let Some(part) = self.parts.get_mut(&id) {
            part.left = left;
        }
    }

    /// Gives to all who wait what there is for them.
    fn serve(&mut self, size: &Size) {
        for waiter in mem::take(&mut self.steps) {
            if self.give(size, &waiter) {
                tell(waiter);
            } else {
                self.steps.push_back(waiter);
            }
        }
        let mut full = false;
        for waiter in mem::take(&mut self.new) {
            if !full && self.give(size, &waiter) {
                tell(waiter);
                continue;
            }
            // A long one is not passed by short ones for ever.
            full = full || !self.is_beyond_share(size, &waiter);
            self.new.push_back(waiter);
        }
    }

    /// Takes somebody out of the queues; nothing if it was served.
    fn leave(&mut self, id: u64) -> Option<Waiter> {
        [&mut self.steps, &mut self.new].into_iter().find_map(|queue| {
            let at = queue.iter().position(|waiter| waiter.part == id)?;
            queue.remove(at)
        })
    }
}

/// Who does not listen any more gives back what it was given by itself.
fn tell(waiter: Waiter) {
    waiter.tell.send(()).ok();
}

impl Lane {
    pub(super) fn new(size: Size) -> Self {
        Self(Arc::new(Inner { size, state: Mutex::default() }))
    }

    /// The longest part that there can be.
    pub(super) fn longest(&self) -> usize {
        self.0.size.share
    }

    /// Reserves a part, whole. Waits for its turn.
    pub(super) async fn take(&self, owner: Owner, bytes: usize) -> Result<Share, NoRoom> {
        let share = {
            let mut state = lock(&self.0.state);
            let id = state.next;
            state.next += 1;
            state.parts.insert(id, Part { owner, held: 0, left: 0, slow: false });
            Share { lane: self.clone(), id, held: bytes }
        };
        self.wait(share.id, bytes).await?;
        Ok(share)
    }

    async fn wait(&self, part: u64, want: usize) -> Result<(), NoRoom> {
        let (tell, told) = oneshot::channel();
        let turn = {
            let mut state = lock(&self.0.state);
            let waiter = Waiter { part, want, since: Instant::now(), tell };
            let step = state.parts.get(&part).is_some_and(|part| part.left > 0);
            if step { &mut state.steps } else { &mut state.new }.push_back(waiter);
            state.serve(&self.0.size);
            if step { STEP_TURN } else { TURN }
        };
        if let Ok(Ok(())) = timeout(turn, told).await {
            return Ok(());
        }
        let mut state = lock(&self.0.state);
        let Some(waiter) = state.leave(part) else {
            return Ok(());
        };
        if !state.is_beyond_share(&self.0.size, &waiter) {
            state.refused = Some(Instant::now());
        }
        Err(NoRoom)
    }

    /// Whether requests have not got memory for long, by no fault of their own account or address.
    pub(super) fn is_starved(&self) -> bool {
        let state = lock(&self.0.state);
        let waits = |waiter: &Waiter| {
            waiter.since.elapsed() >= LONG && !state.is_beyond_share(&self.0.size, waiter)
        };
        state.refused.is_some_and(|when| when.elapsed() < REMEMBERED)
            || state.steps.iter().chain(&state.new).any(waits)
    }

    /// How many bytes are reserved.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        lock(&self.0.state).used
    }
}

/// A part that is held until it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    lane: Lane,
    id: u64,
    held: usize,
}

impl Share {
    /// Bytes reserved.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// No more than this is needed after all.
    pub(super) fn of(mut self, held: usize) -> Self {
        if held < self.held {
            self.held = held;
            let mut state = lock(&self.lane.0.state);
            state.hold(self.id, held);
            state.serve(&self.lane.0.size);
        }
        self
    }

    /// Keeps what has arrived; the rest is asked for step by step. Refused if those who are slow
    /// have all that they may have: then it is to be given up.
    pub(super) fn fall_behind(&mut self, arrived: usize) -> Result<(), NoRoom> {
        let size = &self.lane.0.size;
        let mut state = lock(&self.lane.0.state);
        let left = self.held.saturating_sub(arrived);
        self.held = self.held.min(arrived);
        state.hold(self.id, self.held);
        if let Some(part) = state.parts.get_mut(&self.id) {
            part.left = left;
            part.slow = true;
            state.slow += self.held;
        }
        if state.slow > size.slow || !state.is_safe(size) {
            state.refused = Some(Instant::now());
            return Err(NoRoom);
        }
        state.serve(size);
        Ok(())
    }

    /// Reserves a step more. Waits for its turn.
    pub(super) async fn more(&mut self, bytes: usize) -> Result<(), NoRoom> {
        self.lane.wait(self.id, bytes).await?;
        self.held += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = lock(&self.lane.0.state);
        state.leave(self.id);
        state.hold(self.id, 0);
        state.parts.remove(&self.id);
        state.serve(&self.lane.0.size);
    }
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
