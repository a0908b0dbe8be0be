//! The key schedule: two secrets of the vault, one dated leaf a purpose.
//!
//! `leaf = derive_key(context, secret[32] || vault id[16] || epoch u32 LE)`; the epoch of the
//! write secret, which is never rotated, is 0. Derive what the command needs, then drop the root.

use std::fmt;

use ed25519_dalek::{SigningKey, VerifyingKey};
use unseen_common::id::VaultId;
use zeroize::Zeroizing;

use super::content_id::ContentKeys;
use super::derive::Context;
use super::locked::Locked;
use super::rng::Hedged;
use super::secret::Secret;
use super::vault_key::VaultPrivateKey;

/// `RS`: everything that reads or decides, for one epoch.
#[derive(Debug, PartialEq, Eq)]
pub struct RootSecret {
    secret: Locked,
    epoch: u32,
}

impl RootSecret {
    /// A new root: `init` (epoch 0), `key rotate` (the next epoch).
    pub fn generate(epoch: u32, rng: &mut Hedged) -> Self {
        Self::from_bytes(rng.secret().expose(), epoch)
    }

    /// The root as a slot held it.
    pub(crate) fn from_bytes(secret: &[u8; 32], epoch: u32) -> Self {
        Self { secret: Locked::new(secret), epoch }
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.secret.expose()
    }

    /// Which epoch's root this is.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The key pair that packs of this epoch are sealed to.
    pub fn vault_key(&self, vault: VaultId) -> VaultPrivateKey {
        VaultPrivateKey::from_leaf(&self.leaf(Context::VAULT_KEM, vault))
    }

    /// What an operation on the log needs.
    pub fn owner_keys(&self, vault: VaultId) -> OwnerKeys {
        OwnerKeys {
            root: signing_key(&self.leaf(Context::ROOT_SIGN, vault)),
            login: signing_key(&self.leaf(Context::OWNER_LOGIN, vault)),
        }
    }

    pub(crate) fn leaf(&self, context: Context, vault: VaultId) -> Secret<32> {
        leaf(context, self.secret.expose(), vault, self.epoch)
    }
}

/// `WS`: everything that writes needs, for ever.
#[derive(Debug, PartialEq, Eq)]
pub struct WriteSecret(Locked);

impl WriteSecret {
    /// A new one, by `init` alone.
    pub fn generate(rng: &mut Hedged) -> Self {
        Self::from_bytes(rng.secret().expose())
    }

    pub(crate) fn from_bytes(secret: &[u8; 32]) -> Self {
        Self(Locked::new(secret))
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// What every device of the vault holds.
    pub fn write_set(&self, vault: VaultId) -> WriteSet {
        let leaf = |context| leaf(context, self.0.expose(), vault, 0);
        WriteSet {
            data_chunk_id: leaf(Context::DATA_CHUNK_ID),
            tree_chunk_id: leaf(Context::TREE_CHUNK_ID),
            chunker: leaf(Context::CHUNKER),
            writer_psk: leaf(Context::WRITER_PSK),
            set_tag: leaf(Context::SET_TAG),
        }
    }
}

/// The keys a device writes with. None of them opens a backup.
#[derive(Debug, PartialEq, Eq)]
pub struct WriteSet {
    /// Names chunks of files.
    pub data_chunk_id: Secret<32>,
    /// Names chunks of trees.
    pub tree_chunk_id: Secret<32>,
    /// Seeds the table of the chunker.
    pub chunker: Secret<32>,
    /// Goes into every envelope, so that the server cannot make one.
    pub writer_psk: Secret<32>,
    /// Names sets to the server.
    pub set_tag: Secret<32>,
}

impl WriteSet {
    /// Length of the fixed form.
    pub const LEN: usize = 160;

    /// The five keys in the order of the fields.
    pub fn to_bytes(&self) -> Zeroizing<[u8; Self::LEN]> {
        let mut bytes = Zeroizing::new([0; Self::LEN]);
        let keys = [
            &self.data_chunk_id,
            &self.tree_chunk_id,
            &self.chunker,
            &self.writer_psk,
            &self.set_tag,
        ];
        for (place, key) in bytes.chunks_exact_mut(32).zip(keys) {
            place.copy_from_slice(key.expose());
        }
        bytes
    }

    /// The keys out of the fixed form.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let key = |index: usize| {
            let slice = bytes.chunks_exact(32).nth(index).unwrap_or_default();
            Secret::from_slice(slice).expect("160 bytes are five keys of 32")
        };
        Self {
            data_chunk_id: key(0),
            tree_chunk_id: key(1),
            chunker: key(2),
            writer_psk: key(3),
            set_tag: key(4),
        }
    }

    /// The keys that name content.
    pub fn content_keys(&self) -> ContentKeys {
        ContentKeys::new(&self.data_chunk_id, &self.tree_chunk_id, &self.set_tag)
    }
}

/// What signs for the owner.
pub struct OwnerKeys {
    /// Signs entries of the log.
    pub root: SigningKey,
    /// Logs in as the owner.
    pub login: SigningKey,
}

impl OwnerKeys {
    /// The key that devices check root-signed entries with.
    pub fn root_verify(&self) -> VerifyingKey {
        self.root.verifying_key()
    }
}

impl fmt::Debug for OwnerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnerKeys(..)")
    }
}

/// What an opened slot holds: the whole vault. Derive what the command needs and drop it.
#[derive(Debug, PartialEq, Eq)]
pub struct Unlocked {
    /// The vault the slot belongs to.
    pub vault: VaultId,
    /// Reads and decides.
    pub root: RootSecret,
    /// Writes.
    pub write: WriteSecret,
    /// The vault's share, kept on enrolled machines: half of a default passphrase slot.
    pub share: Secret<16>,
}

impl Unlocked {
    /// A new vault.
    pub fn generate(vault: VaultId, rng: &mut Hedged) -> Self {
        Self {
            vault,
            root: RootSecret::generate(0, rng),
            write: WriteSecret::generate(rng),
            share: rng.secret(),
        }
    }

    /// What a restore, a mount or a check needs; nothing here can sign.
    pub fn reader_keys(&self) -> ReaderKeys {
        ReaderKeys::new(self.vault, &self.root, self.write_set())
    }

    /// What a change to the log needs.
    pub fn owner_keys(&self) -> OwnerKeys {
        self.root.owner_keys(self.vault)
    }

    /// What a device needs.
    pub fn write_set(&self) -> WriteSet {
        self.write.write_set(self.vault)
    }
}

/// What reading needs: the envelope key of every epoch known, and the write set.
#[derive(Debug)]
pub struct ReaderKeys {
    vault: VaultId,
    epoch: u32,
    keys: Vec<(u32, VaultPrivateKey)>,
    write_set: WriteSet,
}

impl ReaderKeys {
    /// The keys of `root`'s epoch.
    pub fn new(vault: VaultId, root: &RootSecret, write_set: WriteSet) -> Self {
        let keys = vec![(root.epoch(), root.vault_key(vault))];
        Self { vault, epoch: root.epoch(), keys, write_set }
    }

    /// Adds the key of an epoch before a rotation: its packs keep their envelopes.
    pub fn add_epoch(&mut self, older: &RootSecret) {
        if self.key(older.epoch()).is_none() {
            self.keys.push((older.epoch(), older.vault_key(self.vault)));
        }
    }

    /// The vault that is read.
    pub fn vault(&self) -> VaultId {
        self.vault
    }

    /// The epoch that new packs are sealed in.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The key of one epoch, if it is known.
    pub fn key(&self, epoch: u32) -> Option<&VaultPrivateKey> {
        self.keys.iter().find(|(known, _)| *known == epoch).map(|(_, key)| key)
    }

    /// The keys that writing shares with reading.
    pub fn write_set(&self) -> &WriteSet {
        &self.write_set
    }
}

/// An Ed25519 key whose seed is a leaf.
pub(crate) fn signing_key(seed: &Secret<32>) -> SigningKey {
    SigningKey::from_bytes(seed.expose())
}

fn leaf(context: Context, secret: &[u8; 32], vault: VaultId, epoch: u32) -> Secret<32> {
    context.derive(&[secret, vault.as_bytes(), &epoch.to_le_bytes()])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::rng::testing::rng;
    use super::*;

    const VAULT: VaultId = VaultId::from_bytes([7; 16]);

    #[test]
    fn no_two_purposes_vaults_or_epochs_share_a_leaf() {
        let mut leaves = BTreeSet::new();
        for context in Context::ALL {
            for vault in [VAULT, VaultId::from_bytes([8; 16])] {
                for epoch in [0, 1, 0x0100_0000] {
                    let root = RootSecret::from_bytes(&[1; 32], epoch);
                    assert!(leaves.insert(*root.leaf(*context, vault).expose()));
                }
            }
        }
        assert_eq!(leaves.len(), Context::ALL.len() * 6);
    }

    #[test]
    fn write_sets_round_trip() {
        let set = WriteSecret::from_bytes(&[2; 32]).write_set(VAULT);
        let bytes = set.to_bytes();
        assert_eq!(WriteSet::from_bytes(&bytes), set);
        let keys: BTreeSet<_> = bytes.chunks_exact(32).collect();
        assert_eq!(keys.len(), 5);
    }

    #[test]
    fn readers_find_the_key_of_each_epoch() {
        let unlocked = Unlocked::generate(VAULT, &mut rng(1));
        let mut reader = unlocked.reader_keys();
        let next = RootSecret::generate(1, &mut rng(2));
        assert!(reader.key(1).is_none());
        reader.add_epoch(&next);
        let found = reader.key(1).map(|key| key.public().clone());
        assert_eq!(found.as_ref(), Some(next.vault_key(VAULT).public()));
        assert_eq!(reader.epoch(), 0);
    }
}
