//! Sizes that a pack and its footer may have: powers of two, so that sizes tell little.

use unseen_common::limits::{
    MAX_FOOTER, MAX_PACK, MIN_FOOTER, MIN_PACK, PACK_HEADER, PACK_TRAILER,
};

/// Bytes that AEAD adds to every segment and to the footer.
pub const TAG: u64 = 16;
/// Bytes in a footer besides the table: its length, the content hash, the signature.
pub const FOOTER_FIXED: u64 = 4 + 32 + 64;

/// Length of the sealed footer for a table of `table` bytes.
pub const fn footer_len(table: u64) -> u64 {
    let needed = table + FOOTER_FIXED + TAG;
    if needed <= MIN_FOOTER { MIN_FOOTER } else { needed.next_power_of_two() }
}

/// Bytes that a pack needs at least, for `body` bytes of sealed segments.
pub const fn needed(body: u64, table: u64) -> u64 {
    // The padding segment is always there, if only its tag.
    PACK_HEADER + body + TAG + footer_len(table) + PACK_TRAILER
}

/// The length of such a pack on the ladder; `None` when it does not fit the largest.
pub const fn pack_len(body: u64, table: u64) -> Option<u64> {
    let needed = needed(body, table);
    if needed > MAX_PACK || footer_len(table) > MAX_FOOTER {
        None
    } else if needed <= MIN_PACK {
        Some(MIN_PACK)
    } else {
        Some(needed.next_power_of_two())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use unseen_common::limits::{footer_size_ok, on_ladder};

    #[test]
    fn a_table_that_no_footer_holds_fits_no_pack() {
        assert!(pack_len(0, MAX_FOOTER - FOOTER_FIXED - TAG).is_some());
        assert_eq!(pack_len(0, MAX_FOOTER - FOOTER_FIXED - TAG + 1), None);
    }

    proptest! {
        #[test]
        fn lengths_are_on_the_ladder_and_hold_what_they_must(
            body in 0..MAX_PACK, table in 0_u64..1 << 20) {
            prop_assert!(footer_size_ok(footer_len(table)));
            if let Some(length) = pack_len(body, table) {
                prop_assert!(on_ladder(length));
                prop_assert!(length >= needed(body, table));
                prop_assert!(length == MIN_PACK || length / 2 < needed(body, table));
            }
        }
    }
}
