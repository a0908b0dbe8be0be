//! Ed25519 with a domain string before every message, verified strictly.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

/// What a signature is about. A signature for one domain says nothing in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// An entry of the log.
    Log,
    /// A pack's table of contents.
    Pack,
    /// A login challenge.
    Auth,
}

impl Domain {
    /// The bytes before the message.
    pub const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Log => b"unseen log v1\0",
            // Under v1 the whole table was signed.
            Self::Pack => b"unseen pack v2\0",
            Self::Auth => b"unseen auth v1\0",
        }
    }

    fn frame(self, message: &[u8]) -> Vec<u8> {
        [self.prefix(), message].concat()
    }
}

/// The signature is not by this key over this message in this domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

/// Bytes that cannot be used as a public signing key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a public signing key")]
pub struct BadVerifyingKey;

/// Signs `domain || message`.
pub fn sign(key: &SigningKey, domain: Domain, message: &[u8]) -> [u8; 64] {
    key.sign(&domain.frame(message)).to_bytes()
}

/// Checks a signature over `domain || message`; refuses small-order keys and non-canonical forms.
pub fn verify(
    key: &VerifyingKey,
    domain: Domain,
    message: &[u8],
    signature: &[u8; 64],
) -> Result<(), BadSignature> {
    key.verify_strict(&domain.frame(message), &Signature::from_bytes(signature))
        .or(Err(BadSignature))
}

/// A public key that can bind a signer: on the curve, canonical, not of small order.
pub fn verifying_key(bytes: &[u8]) -> Result<VerifyingKey, BadVerifyingKey> {
    let bytes: &[u8; 32] = bytes.try_into().or(Err(BadVerifyingKey))?;
    let key = VerifyingKey::from_bytes(bytes).or(Err(BadVerifyingKey))?;
    // Decompression also takes a y above the field's prime; only its canonical form is a key.
    let canonical = key.to_edwards().compress().to_bytes() == *bytes;
    if key.is_weak() || !canonical { Err(BadVerifyingKey) } else { Ok(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_do_not_mix() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let signature = sign(&key, Domain::Log, b"entry");
        let public = key.verifying_key();
        assert_eq!(verify(&public, Domain::Log, b"entry", &signature), Ok(()));
        for domain in [Domain::Pack, Domain::Auth] {
            assert_eq!(verify(&public, domain, b"entry", &signature), Err(BadSignature));
        }
        assert_eq!(verify(&public, Domain::Log, b"entrY", &signature), Err(BadSignature));
    }

    #[test]
    fn every_flipped_byte_is_refused() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let signature = sign(&key, Domain::Auth, b"challenge");
        for index in 0..64 {
            let mut bad = signature;
            bad[index] ^= 0x40;
            let refused = verify(&key.verifying_key(), Domain::Auth, b"challenge", &bad);
            assert_eq!(refused, Err(BadSignature), "byte {index}");
        }
    }

    #[test]
    fn weak_and_non_canonical_keys_are_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(verifying_key(&identity), Err(BadVerifyingKey));
        // The field's prime plus 3: decompresses to the point with y = 3.
        let mut wrapped = [0xff; 32];
        wrapped[0] = 0xf0;
        wrapped[31] = 0x7f;
        assert_eq!(verifying_key(&wrapped), Err(BadVerifyingKey));
        assert_eq!(verifying_key(&[1; 31]), Err(BadVerifyingKey));
        let good = SigningKey::from_bytes(&[1; 32]).verifying_key();
        assert_eq!(verifying_key(good.as_bytes()), Ok(good));
    }
}
