//! The one generator of random values that protect data.
//!
//! A machine whose operating system repeats itself (a cloned virtual machine, a broken source at
//! boot) would repeat pack keys. So what the system gives is mixed with a secret of the device,
//! the time and a counter: any one of them that differs makes the output differ.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rand_core::{Infallible, TryCryptoRng, TryRng};
use zeroize::Zeroize;

use super::derive::Context;
use super::secret::Secret;

/// Where the generator gets what it does not know itself.
pub trait Entropy: Send {
    /// Fills `out` from the operating system.
    fn fill(&mut self, out: &mut [u8; 32]);
    /// Nanoseconds since 1970; only required to differ from boot to boot.
    fn now_nanos(&mut self) -> u64;
}

/// The operating system's generator and clock.
#[derive(Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&mut self, out: &mut [u8; 32]) {
        // No backup is better than one under a key that somebody may know.
        getrandom::fill(out).expect("the operating system has had a random source since boot");
    }

    fn now_nanos(&mut self) -> u64 {
        #[expect(
            clippy::disallowed_methods,
            reason = "only stirred into keys: no decision depends on it, and tests inject Entropy"
        )]
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The hedged generator: `derive_key("random", os[32] || hedge[32] || nanos || counter)` as XOF,
/// anew for every draw.
pub struct Hedged {
    hedge: Secret<32>,
    counter: u64,
    entropy: Arc<Mutex<dyn Entropy>>,
}

impl Hedged {
    /// Built from the device's hedge secret.
    pub fn new(hedge: &Secret<32>) -> Self {
        Self::with_entropy(hedge, OsEntropy)
    }

    /// For a machine that has no hedge secret yet: `init`, `connect`, a bare restore.
    pub fn fresh() -> Self {
        let mut hedge = [0; 32];
        OsEntropy.fill(&mut hedge);
        let rng = Self::with_entropy(&Secret::from_bytes(hedge), OsEntropy);
        hedge.zeroize();
        rng
    }

    /// With another source than the operating system.
    pub fn with_entropy(hedge: &Secret<32>, entropy: impl Entropy + 'static) -> Self {
        Self { hedge: hedge.duplicate(), counter: 0, entropy: Arc::new(Mutex::new(entropy)) }
    }

    /// An independent generator for another thread.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self { hedge: self.secret(), counter: 0, entropy: Arc::clone(&self.entropy) }
    }

    /// `N` random bytes that may be public.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.draw(&mut out);
        out
    }

    /// `N` random bytes that may not.
    pub fn secret<const N: usize>(&mut self) -> Secret<N> {
        let mut out = [0; N];
        self.draw(&mut out);
        let secret = Secret::from_bytes(out);
        out.zeroize();
        secret
    }

    fn draw(&mut self, out: &mut [u8]) {
        let mut os = [0; 32];
        let nanos = {
            let mut entropy = self.entropy.lock().unwrap_or_else(PoisonError::into_inner);
            entropy.fill(&mut os);
            entropy.now_nanos()
        };
        self.counter = self.counter.wrapping_add(1);
        let parts: [&[u8]; 4] =
            [&os, self.hedge.expose(), &nanos.to_le_bytes(), &self.counter.to_le_bytes()];
        Context::RANDOM.derive_into(&parts, out);
        os.zeroize();
    }
}

impl fmt::Debug for Hedged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hedged(..)")
    }
}

impl TryRng for Hedged {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.bytes()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.bytes()))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.draw(out);
        Ok(())
    }
}

impl TryCryptoRng for Hedged {}

/// Generators for tests, here and in the rooms that seal.
#[cfg(test)]
pub(crate) mod testing {
    use super::{Entropy, Hedged, Secret};

    /// A source that always says the same.
    #[derive(Debug)]
    pub(crate) struct Stuck(pub(crate) u8, pub(crate) u64);

    impl Entropy for Stuck {
        fn fill(&mut self, out: &mut [u8; 32]) {
            out.fill(self.0);
        }

        fn now_nanos(&mut self) -> u64 {
            self.1
        }
    }

    /// The same sequence for the same `seed`, always.
    pub(crate) fn rng(seed: u8) -> Hedged {
        Hedged::with_entropy(&Secret::from_bytes([seed; 32]), Stuck(seed, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{Stuck, rng};
    use super::*;

    #[test]
    fn a_stuck_source_does_not_repeat() {
        let mut rng = rng(1);
        let draws: std::collections::BTreeSet<[u8; 32]> = (0..100).map(|_| rng.bytes()).collect();
        assert_eq!(draws.len(), 100);
        assert_ne!(rng.fork().bytes::<32>(), rng.fork().bytes::<32>());
    }

    #[test]
    fn each_input_alone_changes_the_output() {
        let draw = |hedge: u8, os: u8, nanos: u64| -> [u8; 32] {
            Hedged::with_entropy(&Secret::from_bytes([hedge; 32]), Stuck(os, nanos)).bytes()
        };
        let base = draw(1, 1, 1);
        assert_eq!(base, draw(1, 1, 1));
        assert_ne!(base, draw(2, 1, 1));
        assert_ne!(base, draw(1, 2, 1));
        assert_ne!(base, draw(1, 1, 2));
    }

    #[test]
    fn two_fresh_generators_differ() {
        assert_ne!(Hedged::fresh().bytes::<32>(), Hedged::fresh().bytes::<32>());
    }
}
