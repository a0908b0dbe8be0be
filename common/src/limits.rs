//! Caps that both sides enforce. Nothing from outside is allocated or accepted beyond them.

use serde::{Deserialize, Serialize};

use crate::wire::endpoint::{ALL, Takes};

/// Smallest pack, in bytes. Packs are this times a power of two.
pub const MIN_PACK: u64 = 64 * 1024;
/// Largest pack, in bytes.
pub const MAX_PACK: u64 = 16 * 1024 * 1024;
/// Smallest sealed footer, in bytes; footers are powers of two.
pub const MIN_FOOTER: u64 = 4096;
/// Largest sealed footer, in bytes.
pub const MAX_FOOTER: u64 = 4 * 1024 * 1024;
/// The fixed part at the end of a pack: footer length, format version, padding. In bytes.
pub const PACK_TRAILER: u64 = 16;
/// The fixed part at the start of a pack: magic to commitment. In bytes.
pub const PACK_HEADER: u64 = 1245;
/// Largest log entry, in bytes, without its signature.
pub const MAX_ENTRY: usize = 64 * 1024;
/// Largest sealed manifest, in bytes.
pub const MAX_MANIFEST: usize = 4 * 1024 * 1024;
/// Largest serialized packset, in bytes.
pub const MAX_PACKSET: usize = 64 * 1024 * 1024;
/// Most unlock slots of a vault.
pub const MAX_SLOTS: usize = 16;
/// Largest slot, in bytes.
pub const MAX_SLOT: usize = 1024;
/// Most login keys that a slots entry may list.
pub const MAX_SLOT_KEYS: usize = 16;
/// Largest sealed device record (name and index key), in bytes.
pub const MAX_DEVICE_SEALED: usize = 4096;
/// Most devices of a vault, revoked ones included.
pub const MAX_DEVICES: usize = 4096;
/// Most snapshots that one log entry may name; more are split over entries.
pub const MAX_ENTRY_SNAPSHOTS: usize = 1024;
/// Most snapshots that one compact entry may give new packs.
pub const MAX_COMPACT_SNAPSHOTS: usize = 512;
/// Longest map from old packs to new ones that comes with a compaction, in bytes.
pub const MAX_PACK_MAP: usize = 8 * 1024 * 1024;
/// Longest packset inside a log entry, in bytes.
pub const MAX_ENTRY_PACKSET: usize = 16 * 1024;
/// Most sets with keep rules of their own, and most devices with a limit of their own.
pub const MAX_POLICY_ROWS: usize = 256;
/// Most packs that are read again at one request.
pub const MAX_VERIFY: u64 = 8;
/// Log records in one answer.
pub const MAX_LOG_PAGE: usize = 1000;

/// What a server takes at most, as it says itself. In bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServerLimits {
    /// A pack.
    pub pack: u64,
    /// A sealed manifest.
    pub manifest: u64,
    /// A packset.
    pub packset: u64,
    /// An entry of the log, without its signature.
    pub entry: u64,
    /// The body of a request that is no pack.
    pub body: u64,
}

impl ServerLimits {
    /// Of a server of this version, and what a client of this version may have to send.
    pub fn current() -> Self {
        let wide = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        let json = ALL.iter().filter(|endpoint| endpoint.takes == Takes::Json);
        Self {
            pack: MAX_PACK,
            manifest: wide(MAX_MANIFEST),
            packset: wide(MAX_PACKSET),
            entry: wide(MAX_ENTRY),
            body: json.map(|endpoint| wide(endpoint.body_cap)).max().unwrap_or(0),
        }
    }

    /// The first of these that does not hold what `needed` has, with both numbers.
    pub fn shortfall(&self, needed: &Self) -> Option<(&'static str, u64, u64)> {
        let of = |limits: &Self| {
            let Self { pack, manifest, packset, entry, body } = *limits;
            [pack, manifest, packset, entry, body]
        };
        let names = ["packs", "manifests", "lists of packs", "log entries", "requests"];
        let pairs = names.into_iter().zip(of(self)).zip(of(needed));
        pairs.map(|((name, has), needs)| (name, has, needs)).find(|(_, has, needs)| has < needs)
    }
}

/// Whether `length` is a size that packs may have: a power of two within the ladder.
pub const fn on_ladder(length: u64) -> bool {
    length.is_power_of_two() && length >= MIN_PACK && length <= MAX_PACK
}

/// Whether `length` is a size that sealed footers may have.
pub const fn footer_size_ok(length: u64) -> bool {
    length.is_power_of_two() && length >= MIN_FOOTER && length <= MAX_FOOTER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_takes_less_is_told_from_one_that_takes_more() {
        let ours = ServerLimits::current();
        assert_eq!((ours.pack, ours.body), (16 << 20, 96 << 20));
        assert_eq!(ours.shortfall(&ours), None);
        let more = ServerLimits { pack: ours.pack * 2, ..ours };
        assert_eq!(more.shortfall(&ours), None);
        let less = ServerLimits { packset: 7, entry: 1, ..more };
        assert_eq!(less.shortfall(&ours), Some(("lists of packs", 7, ours.packset)));
    }
}
