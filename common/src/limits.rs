//! Caps that both sides enforce. Nothing from outside is allocated or accepted beyond them.

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

/// Whether `length` is a size that packs may have: a power of two within the ladder.
pub const fn on_ladder(length: u64) -> bool {
    length.is_power_of_two() && length >= MIN_PACK && length <= MAX_PACK
}

/// Whether `length` is a size that sealed footers may have.
pub const fn footer_size_ok(length: u64) -> bool {
    length.is_power_of_two() && length >= MIN_FOOTER && length <= MAX_FOOTER
}
