//! Packs that are nearly full and wait for something small: a few for all threads together, so
//! that memory stays bounded and little of a pack is left empty.
//!
//! A pack that leaves is counted as on its way before the lock is released: whoever waits for all
//! packs must not miss one that holds another thread's segments.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::dedup::SegmentHandle;
use super::upload::Flow;
use crate::pack::builder::PackBuilder;
use crate::pack::table::SegmentRow;

/// How many wait.
pub const WAITING: usize = 2;
/// A pack with less room than this, in bytes, is full.
pub const FULL: u64 = 96 * 1024;

/// A pack that is being filled.
#[derive(Debug)]
pub struct OpenPack {
    /// The pack.
    pub builder: PackBuilder,
    /// Handles of its segments, in order.
    pub handles: Vec<SegmentHandle>,
}

/// Where a segment went.
#[derive(Debug)]
pub enum Placed {
    /// Into a pack that goes on waiting.
    There,
    /// Into a pack that is full now.
    Full(OpenPack),
    /// It fits none of them.
    Nowhere,
}

/// The packs that wait.
#[derive(Debug, Default)]
pub struct NearlyFull(Mutex<Vec<OpenPack>>);

impl NearlyFull {
    /// Puts a segment into one of them, if it fits.
    pub fn place(
        &self,
        encoded: &[u8],
        row: &SegmentRow,
        (handle, flow): (SegmentHandle, &Flow),
    ) -> Placed {
        let mut waiting = self.lock();
        for at in 0..waiting.len() {
            let Some(pack) = waiting.get_mut(at) else {
                break;
            };
            if pack.builder.append(encoded, row.clone()) {
                pack.handles.push(handle);
                if pack.builder.room() < FULL {
                    flow.sealed();
                    return Placed::Full(waiting.swap_remove(at));
                }
                return Placed::There;
            }
        }
        Placed::Nowhere
    }

    /// Lets a pack wait; hands back the fullest if there are too many.
    pub fn wait(&self, pack: OpenPack, flow: &Flow) -> Option<OpenPack> {
        let mut waiting = self.lock();
        waiting.push(pack);
        if waiting.len() <= WAITING {
            return None;
        }
        let fullest = waiting.iter().enumerate().min_by_key(|(_, p)| p.builder.room())?.0;
        flow.sealed();
        Some(waiting.swap_remove(fullest))
    }

    /// Takes all of them.
    pub fn take_all(&self) -> Vec<OpenPack> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<OpenPack>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
