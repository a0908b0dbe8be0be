//! Challenges: nothing is kept of those that nobody answers.
//!
//! A nonce is `expires u64 LE | random 8 | MAC 16`; the MAC binds account and principal under a
//! key of this process. Only nonces that led to a login are remembered, until they expire.

use std::collections::HashMap;
use std::sync::Mutex;

use subtle::ConstantTimeEq;
use unseen_common::id::VaultId;
use unseen_common::time::Timestamp;
use unseen_common::vault::{CHALLENGE_SECONDS, Challenge, Principal, VaultError};

use crate::store::{lock, random};

/// Makes challenges and tells which were answered.
#[derive(Debug)]
pub(super) struct Challenges {
    key: [u8; 32],
    used: Mutex<HashMap<[u8; 32], Timestamp>>,
}

impl Challenges {
    pub(super) fn new() -> Self {
        Self { key: random(), used: Mutex::default() }
    }

    pub(super) fn make(&self, account: VaultId, principal: Principal, now: Timestamp) -> Challenge {
        let expires = Timestamp(now.0.saturating_add(CHALLENGE_SECONDS));
        let mut nonce = [0; 32];
        nonce[..8].copy_from_slice(&expires.0.to_le_bytes());
        nonce[8..16].copy_from_slice(&random::<8>());
        let mac = self.mac(account, principal, &nonce);
        nonce[16..].copy_from_slice(&mac);
        Challenge { nonce, expires }
    }

    /// The challenge of this nonce, if it is ours, for these, not expired and not yet used.
    pub(super) fn recall(
        &self,
        account: VaultId,
        principal: Principal,
        nonce: [u8; 32],
        now: Timestamp,
    ) -> Result<Challenge, VaultError> {
        let mac = self.mac(account, principal, &nonce);
        if !bool::from(nonce[16..].ct_eq(&mac)) {
            return Err(VaultError::Unauthorized);
        }
        let first = nonce.first_chunk().copied().unwrap_or_default();
        let expires = Timestamp(u64::from_le_bytes(first));
        if expires < now || lock(&self.used).contains_key(&nonce) {
            return Err(VaultError::Unauthorized);
        }
        Ok(Challenge { nonce, expires })
    }

    /// Marks a challenge as answered; false if somebody else was faster.
    pub(super) fn spend(&self, challenge: &Challenge, now: Timestamp) -> bool {
        let mut used = lock(&self.used);
        used.retain(|_, expires| *expires >= now);
        used.insert(challenge.nonce, challenge.expires).is_none()
    }

    fn mac(&self, account: VaultId, principal: Principal, nonce: &[u8; 32]) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(account.as_bytes());
        match principal {
            Principal::Device(id) => hasher.update(&[1]).update(id.as_bytes()),
            Principal::Owner => hasher.update(&[2]),
            Principal::Slots(key) => hasher.update(&[3]).update(key.as_bytes()),
        };
        hasher.update(&nonce[..16]);
        let mut out = [0; 16];
        hasher.finalize_xof().fill(&mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unseen_common::id::DeviceId;

    #[test]
    fn a_challenge_is_for_one_answer_of_one_principal_in_time() {
        let challenges = Challenges::new();
        let account = VaultId::from_bytes([1; 16]);
        let device = Principal::Device(DeviceId::from_bytes([2; 16]));
        let now = Timestamp(1000);
        let made = challenges.make(account, device, now);
        let recall = |account, principal, nonce, at| {
            challenges.recall(account, principal, nonce, Timestamp(at))
        };
        assert_eq!(recall(account, device, made.nonce, 1120).unwrap(), made);
        assert!(recall(account, device, made.nonce, 1121).is_err());
        assert!(recall(account, Principal::Owner, made.nonce, 1000).is_err());
        let other = VaultId::from_bytes([9; 16]);
        assert!(recall(other, device, made.nonce, 1000).is_err());
        for at in 0..32 {
            let mut nonce = made.nonce;
            nonce[at] ^= 1;
            assert!(recall(account, device, nonce, 1000).is_err(), "byte {at}");
        }
        assert!(challenges.spend(&made, now));
        assert!(!challenges.spend(&made, now));
        assert!(recall(account, device, made.nonce, 1000).is_err());
    }
}
