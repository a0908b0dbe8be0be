//! `device.key`: everything a machine needs to back up. Nothing in it opens a backup.
//!
//! ```text
//! "UNSEENK1" | canonical CBOR map | first 16 bytes of BLAKE3(everything before)
//! ```
//!
//! | key | value |
//! |---|---|
//! | 0 | format version, 1 |
//! | 1 | vault id, 16 bytes |
//! | 2 | server address, text |
//! | 3 | server identity key, 32 bytes |
//! | 4 | TLS pin, 32 bytes; may be absent |
//! | 5 | device id, 16 bytes |
//! | 6 | seed of the manifest key, 32 bytes |
//! | 7 | seed of the login key, 32 bytes |
//! | 8 | index key, 32 bytes |
//! | 9 | hedge secret, 32 bytes |
//! | 10 | write set, 160 bytes |
//! | 11 | vault public key, 1216 bytes |
//! | 12 | epoch of the vault public key |
//! | 13 | root verify key, 32 bytes |
//! | 14 | the vault's share, 16 bytes; absent with `--backup-only` |

use std::convert::Infallible;
use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use ed25519_dalek::{SigningKey, VerifyingKey};
use minicbor::{Decoder, Encoder};
use unseen_common::id::{DeviceId, VaultId};
use zeroize::Zeroizing;

use super::device::DeviceSecrets;
use super::envelope::SealTo;
use super::schedule::WriteSet;
use super::secret::Secret;
use super::sign::verifying_key;
use super::vault_key::VaultPublicKey;

/// Longest server address in bytes.
pub const SERVER_MAX: usize = 2048;

/// Most devices that one device can follow.
pub const INHERITED_MAX: usize = 64;

const MAGIC: &[u8; 8] = b"UNSEENK1";
const VERSION: u32 = 1;
const SUM_LEN: usize = 16;
/// More than the largest file there is.
const FILE_MAX: usize = 8192;
/// One byte more, so that a longer file is seen to be longer.
const FILE_READ_MAX: u64 = 8193;

/// The content of `device.key`.
#[derive(Debug)]
pub struct DeviceKey {
    /// The vault.
    pub vault: VaultId,
    /// Where it lives: a URL, or a folder for a local vault.
    pub server: String,
    /// Checks the server's receipts.
    pub server_identity: VerifyingKey,
    /// The hash that pins the server's TLS certificate, where it is pinned.
    pub tls_pin: Option<[u8; 32]>,
    /// This device.
    pub secrets: DeviceSecrets,
    /// The vault's writing keys.
    pub write_set: WriteSet,
    /// What packs are sealed to.
    pub vault_public: VaultPublicKey,
    /// The epoch of `vault_public`.
    pub epoch: u32,
    /// Checks root-signed entries.
    pub root_verify: VerifyingKey,
    /// Half of a passphrase slot; absent on a machine that only backs up.
    pub share: Option<Secret<16>>,
    /// Devices whose place this one took, and what opens their tables of contents; at most
    /// [`INHERITED_MAX`].
    pub inherited: Vec<(DeviceId, Secret<32>)>,
}

/// Why `device.key` could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DeviceKeyError {
    /// It is not one, or has been changed.
    #[error("device key is damaged")]
    Damaged,
    /// Written by a later version of the program.
    #[error("device key of version {version} is not supported")]
    Unsupported {
        /// Its version.
        version: u32,
    },
    /// The server address is longer than [`SERVER_MAX`].
    #[error("server address is longer than {SERVER_MAX} bytes")]
    ServerTooLong,
    /// Others than the owner may read or change the file.
    #[error("device key may be read by others (mode {mode:o}): make it 600")]
    Exposed {
        /// The permission bits.
        mode: u32,
    },
    /// There is one already, and it was not to be replaced.
    #[error("there is a device key already")]
    Exists,
    /// The file system refused.
    #[error("cannot access the device key")]
    Io(#[from] io::Error),
}

impl From<minicbor::decode::Error> for DeviceKeyError {
    /// The reason is left out: it may quote the input.
    fn from(_: minicbor::decode::Error) -> Self {
        Self::Damaged
    }
}

/// Whether writing may replace a file that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Fail with [`DeviceKeyError::Exists`].
    Keep,
    /// Replace it in one step.
    Replace,
}

impl DeviceKey {
    /// How this device seals.
    pub fn seal_to(&self) -> SealTo<'_> {
        SealTo {
            vault: self.vault,
            epoch: self.epoch,
            device: self.secrets.device,
            public: &self.vault_public,
            psk: &self.write_set.writer_psk,
        }
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, DeviceKeyError> {
        if self.server.len() > SERVER_MAX {
            return Err(DeviceKeyError::ServerTooLong);
        }
        // Reserved at once: growing would leave copies behind.
        let mut file = Zeroizing::new(Vec::with_capacity(FILE_MAX));
        file.extend_from_slice(MAGIC);
        self.encode_map(&mut Encoder::new(&mut *file)).expect("writing to memory cannot fail");
        let sum = checksum(&file);
        file.extend_from_slice(&sum);
        Ok(file)
    }

    fn encode_map(&self, out: &mut Encoder<&mut Vec<u8>>) -> Result<(), EncodeError> {
        out.map(field_count([
            self.tls_pin.is_some(),
            self.share.is_some(),
            !self.inherited.is_empty(),
        ]))?;
        out.u8(0)?.u32(VERSION)?;
        out.u8(1)?.bytes(self.vault.as_bytes())?;
        out.u8(2)?.str(&self.server)?;
        out.u8(3)?.bytes(self.server_identity.as_bytes())?;
        if let Some(pin) = &self.tls_pin {
            out.u8(4)?.bytes(pin)?;
        }
        out.u8(5)?.bytes(self.secrets.device.as_bytes())?;
        out.u8(6)?.bytes(self.secrets.manifest.as_bytes())?;
        out.u8(7)?.bytes(self.secrets.login.as_bytes())?;
        out.u8(8)?.bytes(self.secrets.index_key.expose())?;
        out.u8(9)?.bytes(self.secrets.hedge.expose())?;
        out.u8(10)?.bytes(self.write_set.to_bytes().as_slice())?;
        out.u8(11)?.bytes(self.vault_public.as_bytes())?;
        out.u8(12)?.u32(self.epoch)?;
        out.u8(13)?.bytes(self.root_verify.as_bytes())?;
        if let Some(share) = &self.share {
            out.u8(14)?.bytes(share.expose())?;
        }
        if !self.inherited.is_empty() {
            out.u8(15)?
                .array(u64::try_from(self.inherited.len().saturating_mul(2)).unwrap_or(u64::MAX))?;
            for (device, index_key) in &self.inherited {
                out.bytes(device.as_bytes())?.bytes(index_key.expose())?;
            }
        }
        Ok(())
    }

    /// Reads the bytes of the file; they must be exactly those that [`Self::encode`] makes.
    pub fn decode(file: &[u8]) -> Result<Self, DeviceKeyError> {
        let damaged = || DeviceKeyError::Damaged;
        let (start, sum) = file.split_last_chunk::<SUM_LEN>().ok_or_else(damaged)?;
        let map = start.strip_prefix(MAGIC).ok_or_else(damaged)?;
        if checksum(start) != *sum || file.len() > FILE_MAX {
            return Err(damaged());
        }
        let mut input = Decoder::new(map);
        let key = Self::decode_map(&mut input)?;
        // Canonical: no other spelling, no further keys, nothing behind the map.
        if key.encode()?.as_slice() != file {
            return Err(damaged());
        }
        Ok(key)
    }

    fn decode_map(input: &mut Decoder<'_>) -> Result<Self, DeviceKeyError> {
        let fields = input.map()?.ok_or(DeviceKeyError::Damaged)?;
        expect_key(input, 0)?;
        let version = input.u32()?;
        if version != VERSION {
            return Err(DeviceKeyError::Unsupported { version });
        }
        let vault = VaultId::from_bytes(field(input, 1)?);
        expect_key(input, 2)?;
        let server = input.str()?.to_owned();
        let server_identity = public(&field(input, 3)?)?;
        let tls_pin = if next_is(input, 4) { Some(field(input, 4)?) } else { None };
        let secrets = DeviceSecrets {
            device: DeviceId::from_bytes(field(input, 5)?),
            manifest: SigningKey::from_bytes(&Zeroizing::new(field(input, 6)?)),
            login: SigningKey::from_bytes(&Zeroizing::new(field(input, 7)?)),
            index_key: Secret::from_bytes(field(input, 8)?),
            hedge: Secret::from_bytes(field(input, 9)?),
        };
        let write_set = WriteSet::from_bytes(&Zeroizing::new(field(input, 10)?));
        let vault_public =
            VaultPublicKey::from_bytes(&field::<{ VaultPublicKey::LEN }>(input, 11)?)
                .or(Err(DeviceKeyError::Damaged))?;
        expect_key(input, 12)?;
        let epoch = input.u32()?;
        let root_verify = public(&field(input, 13)?)?;
        let share =
            if next_is(input, 14) { Some(Secret::from_bytes(field(input, 14)?)) } else { None };
        let inherited = if next_is(input, 15) { inherited(input)? } else { Vec::new() };
        if fields != field_count([tls_pin.is_some(), share.is_some(), !inherited.is_empty()]) {
            return Err(DeviceKeyError::Damaged);
        }
        Ok(Self {
            vault,
            server,
            server_identity,
            tls_pin,
            secrets,
            write_set,
            vault_public,
            epoch,
            root_verify,
            share,
            inherited,
        })
    }

    /// Reads the file; refuses one that others may read.
    pub fn load(path: &Path) -> Result<Self, DeviceKeyError> {
        let file = File::open(path)?;
        let mode = file.metadata()?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(DeviceKeyError::Exposed { mode });
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_MAX * 2));
        file.take(FILE_READ_MAX).read_to_end(&mut bytes)?;
        Self::decode(&bytes)
    }

    /// Writes the file, readable by its owner alone, in one step that a crash cannot halve.
    pub fn save(&self, path: &Path, existing: Existing) -> Result<(), DeviceKeyError> {
        let bytes = self.encode()?;
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut file = tempfile::Builder::new()
            .prefix(".device-key-")
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(folder)?;
        file.write_all(&bytes)?;
        file.as_file().sync_all()?;
        match existing {
            Existing::Replace => file.persist(path).map_err(|failed| failed.error)?,
            Existing::Keep => {
                file.persist_noclobber(path).map_err(|failed| exists(failed.error))?
            }
        };
        File::open(folder)?.sync_all()?;
        Ok(())
    }
}

/// How many fields the map has, given which of the optional two are there.
fn field_count(optional: [bool; 3]) -> u64 {
    optional.into_iter().fold(13, |count, there| u64::from(there).saturating_add(count))
}

fn exists(error: io::Error) -> DeviceKeyError {
    match error.kind() {
        io::ErrorKind::AlreadyExists => DeviceKeyError::Exists,
        _ => DeviceKeyError::Io(error),
    }
}

type EncodeError = minicbor::encode::Error<Infallible>;

fn checksum(start: &[u8]) -> [u8; SUM_LEN] {
    let hash = blake3::hash(start);
    let (sum, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
    *sum
}

fn public(bytes: &[u8; 32]) -> Result<VerifyingKey, DeviceKeyError> {
    verifying_key(bytes).or(Err(DeviceKeyError::Damaged))
}

fn inherited(input: &mut Decoder<'_>) -> Result<Vec<(DeviceId, Secret<32>)>, DeviceKeyError> {
    expect_key(input, 15)?;
    let items = input.array()?.ok_or(DeviceKeyError::Damaged)?;
    let count = usize::try_from(items / 2).unwrap_or(usize::MAX);
    if items % 2 != 0 || count > INHERITED_MAX {
        return Err(DeviceKeyError::Damaged);
    }
    let mut all = Vec::new();
    for _ in 0..count {
        let device = input.bytes()?.try_into().or(Err(DeviceKeyError::Damaged))?;
        let key = Secret::from_slice(input.bytes()?).ok_or(DeviceKeyError::Damaged)?;
        all.push((DeviceId::from_bytes(device), key));
    }
    Ok(all)
}

fn next_is(input: &Decoder<'_>, key: u8) -> bool {
    input.clone().u8().is_ok_and(|found| found == key)
}

fn expect_key(input: &mut Decoder<'_>, key: u8) -> Result<(), DeviceKeyError> {
    let found = input.u8()?;
    if found == key { Ok(()) } else { Err(DeviceKeyError::Damaged) }
}

fn field<const N: usize>(input: &mut Decoder<'_>, key: u8) -> Result<[u8; N], DeviceKeyError> {
    expect_key(input, key)?;
    let bytes = input.bytes()?;
    bytes.try_into().or(Err(DeviceKeyError::Damaged))
}
