//! Argon2id within fixed bounds.

use std::time::Duration;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroize;

use super::secret::{Passphrase, Secret};

/// The cost of one stretch of a passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfParams {
    /// Memory in KiB.
    pub m_kib: u32,
    /// Passes over the memory.
    pub t: u32,
    /// Lanes, each a thread where there are enough.
    pub p: u32,
}

/// Why a passphrase was not stretched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KdfError {
    /// Cheaper than [`KdfParams::FLOOR`]: easy to guess at.
    #[error("Argon2id cost m={} KiB t={} p={} is below the floor", .0.m_kib, .0.t, .0.p)]
    BelowFloor(KdfParams),
    /// Dearer than [`KdfParams::CEILING`]: would stop the machine.
    #[error("Argon2id cost m={} KiB t={} p={} is above the ceiling", .0.m_kib, .0.t, .0.p)]
    AboveCeiling(KdfParams),
    /// The memory could not be had.
    #[error("not enough memory for Argon2id: {kib} KiB needed")]
    OutOfMemory {
        /// Memory asked for, in KiB.
        kib: u32,
    },
}

impl KdfParams {
    /// The cheapest that is ever used: 64 MiB, 3 passes (second choice of RFC 9106).
    pub const FLOOR: Self = Self { m_kib: 64 * 1024, t: 3, p: 1 };
    /// The dearest that is ever tried: a slot is input from a server.
    pub const CEILING: Self = Self { m_kib: 4 * 1024 * 1024, t: 16, p: 16 };
    /// What new slots start from.
    pub const DEFAULT: Self = Self { m_kib: 128 * 1024, t: 4, p: 4 };
    /// How long an unlock may take on the machine that writes the slot.
    pub const TARGET: Duration = Duration::from_secs(1);

    /// Checks the bounds.
    pub fn check(self) -> Result<Self, KdfError> {
        let (floor, ceiling) = (Self::FLOOR, Self::CEILING);
        if self.m_kib < floor.m_kib || self.t < floor.t || self.p < floor.p {
            return Err(KdfError::BelowFloor(self));
        }
        if self.m_kib > ceiling.m_kib || self.t > ceiling.t || self.p > ceiling.p {
            return Err(KdfError::AboveCeiling(self));
        }
        Ok(self)
    }

    /// The default, with more passes where one run of it took `measured`, less than
    /// [`Self::TARGET`]; never fewer.
    #[must_use]
    pub fn calibrate(measured: Duration) -> Self {
        let base = Self::DEFAULT;
        let fits = Self::TARGET
            .as_millis()
            .saturating_mul(u128::from(base.t))
            .checked_div(measured.as_millis())
            .unwrap_or(u128::MAX);
        let t = u32::try_from(fits).unwrap_or(u32::MAX).clamp(base.t, Self::CEILING.t);
        Self { t, ..base }
    }

    /// `Argon2id(v1.3, passphrase, salt)`, 32 bytes. Checks the bounds before it allocates, and
    /// wipes the memory.
    pub fn stretch(self, passphrase: &Passphrase, salt: &[u8; 32]) -> Result<Secret<32>, KdfError> {
        let Self { m_kib, t, p } = self.check()?;
        let out_of_memory = KdfError::OutOfMemory { kib: m_kib };
        let params =
            Params::new(m_kib, t, p, Some(32)).expect("the bounds lie within those of Argon2");
        let count = params.block_count();
        let mut blocks = Vec::new();
        blocks.try_reserve_exact(count).or(Err(out_of_memory))?;
        blocks.resize(count, Block::default());
        let mut out = [0; 32];
        let done = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(
                passphrase.expose().as_bytes(),
                salt,
                &mut out,
                &mut blocks,
            );
        blocks.zeroize();
        done.or(Err(out_of_memory))?;
        let secret = Secret::from_bytes(out);
        out.zeroize();
        Ok(secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_checked_before_anything_is_allocated() {
        let pass = Passphrase::new("x").unwrap();
        let default = KdfParams::DEFAULT;
        for low in [
            KdfParams { m_kib: 65_535, ..default },
            KdfParams { t: 2, ..default },
            KdfParams { p: 0, ..default },
        ] {
            assert_eq!(low.stretch(&pass, &[0; 32]), Err(KdfError::BelowFloor(low)));
        }
        for high in [
            KdfParams { m_kib: u32::MAX, ..default },
            KdfParams { t: 17, ..default },
            KdfParams { p: 17, ..default },
        ] {
            assert_eq!(high.stretch(&pass, &[0; 32]), Err(KdfError::AboveCeiling(high)));
        }
        for good in [KdfParams::FLOOR, KdfParams::CEILING, default] {
            assert_eq!(good.check(), Ok(good));
        }
    }

    #[test]
    fn calibration_only_raises_passes() {
        let passes = |ms| KdfParams::calibrate(Duration::from_millis(ms)).t;
        assert_eq!(passes(0), 16);
        assert_eq!(passes(100), 16);
        assert_eq!(passes(400), 10);
        assert_eq!(passes(1000), 4);
        assert_eq!(passes(60_000), 4);
        let calibrated = KdfParams::calibrate(Duration::from_millis(400));
        assert_eq!(KdfParams { t: 4, ..calibrated }, KdfParams::DEFAULT);
    }
}
