//! `blake3::derive_key`, and every context it is ever called with.
//!
//! A context is hard-coded, dated and used for one purpose; whatever varies goes into the key
//! material. The parts of one material have lengths that the context fixes (for a slot: the
//! context and the kind), so that no two inputs concatenate to the same bytes.

use zeroize::Zeroize;

use super::secret::Secret;

/// The purpose of a derivation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Context(&'static str);

macro_rules! contexts {
    ($($name:ident = $text:literal;)*) => {
        impl Context {
            $(pub(crate) const $name: Self = Self(concat!("unseen 2026-11 v1 ", $text));)*

            /// Every context of the program, with its name in the documents.
            #[cfg(test)]
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

contexts! {
    VAULT_KEM = "vault kem";
    ROOT_SIGN = "root sign";
    OWNER_LOGIN = "owner login";
    DATA_CHUNK_ID = "data chunk id";
    TREE_CHUNK_ID = "tree chunk id";
    CHUNKER = "chunker";
    WRITER_PSK = "writer psk";
    SET_TAG = "set tag";
    RANDOM = "random";
    SLOT = "slot";
    RECOVERY_CHECKSUM = "recovery checksum";
    SLOTS_LOGIN_CODE = "slots login from code";
    SLOTS_LOGIN_PASSPHRASE = "slots login from passphrase";
    ENVELOPE_COMMIT = "envelope commit";
    PACK_FOOTER = "pack footer";
    PREVIOUS_ROOT = "previous root";
}

impl Context {
    /// The text that BLAKE3 hashes.
    #[cfg(test)]
    pub(crate) fn text(self) -> &'static str {
        self.0
    }

    /// `derive_key(self, parts joined)`, 32 bytes.
    pub(crate) fn derive(self, parts: &[&[u8]]) -> Secret<32> {
        let mut out = [0; 32];
        self.derive_into(parts, &mut out);
        let secret = Secret::from_bytes(out);
        out.zeroize();
        secret
    }

    /// `derive_key(self, parts joined)`, read as far as `out` is long.
    pub(crate) fn derive_into(self, parts: &[&[u8]], out: &mut [u8]) {
        let mut hasher = blake3::Hasher::new_derive_key(self.0);
        for part in parts {
            hasher.update(part);
        }
        let mut reader = hasher.finalize_xof();
        reader.fill(out);
        reader.zeroize();
        hasher.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn contexts_are_unique_and_dated() {
        let texts: BTreeSet<_> = Context::ALL.iter().map(|c| c.text()).collect();
        assert_eq!(texts.len(), Context::ALL.len());
        assert!(texts.iter().all(|t| t.starts_with("unseen 2026-11 v1 ")));
    }

    #[test]
    fn parts_are_joined_and_contexts_separate() {
        let whole = Context::SLOT.derive(&[b"ab", b"c"]);
        assert_eq!(whole.expose(), &blake3::derive_key("unseen 2026-11 v1 slot", b"abc"));
        assert_ne!(whole, Context::RANDOM.derive(&[b"abc"]));
    }
}
