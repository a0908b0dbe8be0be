//! A secret alone on memory pages that are kept out of swap.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Larger than a page on every platform built for (macOS on ARM: 16 KiB), and aligned to it, so
/// that unlocking one secret cannot unlock its neighbour.
#[repr(align(16384))]
struct Page([u8; 16384]);

/// 32 secret bytes locked into memory for as long as they live.
///
/// Locking is best effort: where the limit on locked memory (`RLIMIT_MEMLOCK`) is used up, the
/// secret is kept without it. Hibernation writes memory to disk all the same, and the copies that
/// a computation makes on the stack are not covered.
pub struct Locked {
    // Dropped before the page it locks.
    _guard: Option<region::LockGuard>,
    page: Box<Page>,
}

impl Locked {
    /// Copies `secret` onto a locked page. The caller wipes its own copy.
    pub fn new(secret: &[u8; 32]) -> Self {
        let mut page = Box::new(Page([0; 16384]));
        let guard = region::lock(page.0.as_ptr(), page.0.len()).ok();
        if let Some(start) = page.0.first_chunk_mut() {
            *start = *secret;
        }
        Self { _guard: guard, page }
    }

    /// The bytes themselves: pass them on, do not keep them.
    pub fn expose(&self) -> &[u8; 32] {
        self.page.0.first_chunk().expect("a page is longer than a secret")
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.page.0.zeroize();
    }
}

impl PartialEq for Locked {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for Locked {}

impl fmt::Debug for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Locked(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_it_was_given_on_pages_of_its_own() {
        let locked = Locked::new(&[9; 32]);
        assert_eq!(locked.expose(), &[9; 32]);
        assert_eq!(locked.page.0.as_ptr().align_offset(16384), 0);
        assert_eq!(format!("{locked:?}"), "Locked(..)");
        assert_ne!(locked, Locked::new(&[8; 32]));
    }
}
