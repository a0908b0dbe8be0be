//! Which snapshots stay, which expire, and why. Pure: the same answer on both sides.
//!
//! Rules run for each set of each device on its own, on the stamps that the server gave, by the
//! calendar of UTC. A hacked device can add snapshots and nothing else, and so:
//!
//! - stamps are the server's, and a floor keeps everything for some days;
//! - a complete snapshot is counted among complete ones alone; a partial one among complete and
//!   partial ones, so it never takes a complete one's place and still goes in its time;
//! - a checkpoint stays until a complete one of its set comes after it, and counts nowhere;
//! - what a revoked device wrote after its last trusted entry counts nowhere and is left to the
//!   owner;
//! - more snapshots in an hour than the policy allows stop the expiry of that device's snapshots
//!   for some days, or until the owner cancels it;
//! - a snapshot counts nowhere in its first hour, so that a burst is noticed before any of it has
//!   pushed anything out;
//! - the newest complete snapshot of each set of each device always stays.

pub mod calendar;

mod foresee;
mod judge;
mod reason;
mod series;

#[cfg(test)]
mod tests;

pub use foresee::{Forecast, Foreseen, Later, Wait, foresee, foresee_change};
pub use judge::{
    decide, decide_for_owner, decide_for_owner_among, decide_with, expired, next_expire,
};
pub use reason::{Decision, Every, Kept, Reason, Verdict, Why};
