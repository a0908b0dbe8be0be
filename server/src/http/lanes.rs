//! Which memory a request takes: small bodies never wait for large ones, and who has logged in never
//! for who has not.

use super::app::Limits;
use super::lane::{Lane, Owner, Size};
use crate::ops::metrics::Starving;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// Bodies and answers up to this length are short.
pub(super) const SHORT: usize = 64 * KIB;
/// The length of the longest pack. A longer body is a commit or a compaction of a huge vault.
pub(super) const PACK: usize = 16 * MIB;
/// For longer ones, all together; no less than the longest there is.
const GIANTS: usize = 96 * MIB;
/// For short bodies, and for all bodies before a login, short and others.
const SMALL: usize = 8 * MIB;
/// Packs that one account may have on their way, in and out each: as many as clients send at once.
const PACKS: usize = 3;

/// All memory for bodies and answers.
#[derive(Debug)]
pub(super) struct Lanes {
    small: Lane,
    packs: Lane,
    giants: Lane,
    door: Lane,
    door_long: Lane,
    pub(super) answers: Lane,
}

impl Lanes {
    pub(super) fn new(limits: &Limits) -> Self {
        let packs = |kib: usize| {
            let whole = kib.saturating_mul(KIB).max(PACK);
            let slow = (whole / 3 * 2).max(PACK);
            Lane::new(Size { whole, share: whole.min(PACKS * PACK), slow })
        };
        let quarters = || Lane::new(Size { whole: SMALL, share: SMALL / 4, slow: SMALL / 2 });
        Self {
            small: quarters(),
            packs: packs(limits.in_flight_kib),
            giants: Lane::new(Size { whole: GIANTS, share: GIANTS, slow: GIANTS }),
            door: quarters(),
            door_long: quarters(),
            answers: packs(limits.answers_kib),
        }
    }

    /// The one for a body.
    pub(super) fn for_body(&self, owner: Owner, length: usize) -> &Lane {
        let known = matches!(owner, Owner::Account(_));
        match (known, length) {
            (true, ..=SHORT) => &self.small,
            (true, ..=PACK) => &self.packs,
            (true, _) => &self.giants,
            (false, ..=SHORT) => &self.door,
            (false, _) => &self.door_long,
        }
    }
}

impl Starving for Lanes {
    fn is_starved(&self) -> bool {
        [&self.small, &self.packs, &self.giants, &self.door, &self.door_long, &self.answers]
            .into_iter()
            .any(Lane::is_starved)
    }
}
