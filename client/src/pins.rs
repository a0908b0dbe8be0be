//! The newest log record that this machine has seen, kept apart from every cache.
//!
//! A server that shows an older or another history is caught by it (attacks.md F1, F2).

mod sent;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use minicbor::decode::Decoder;
use unseen_common::codec::{Canonical, DecodeError, Enc, EncodeResult, array_of, bytes_n};
use unseen_common::id::{Hash, VaultId};

pub use sent::Sent;

/// A remembered head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// The vault.
    pub vault: VaultId,
    /// Number of the record.
    pub seq: u64,
    /// Its hash.
    pub head: Hash,
}

impl Canonical for Pin {
    const WHAT: &'static str = "pins file";
    const CAP: usize = 256;

    fn encode(&self, e: &mut Enc<'_>) -> EncodeResult {
        e.array(4)?.u8(1)?.bytes(self.vault.as_bytes())?.u64(self.seq)?;
        e.bytes(self.head.as_bytes())?;
        Ok(())
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        array_of(d, 4, "pins file")?;
        let version = d.u8()?;
        if version != 1 {
            return Err(DecodeError::Unknown { what: "pins version", number: version.into() });
        }
        let vault = VaultId::from_bytes(bytes_n(d, "vault id")?);
        let seq = d.u64()?;
        Ok(Self { vault, seq, head: Hash::from_bytes(bytes_n(d, "head")?) })
    }
}

/// Why a pin cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The file system refused.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is damaged. It is never replaced by itself: that would forget what it protects.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How.
        source: DecodeError,
    },
}

/// The pin in `path`, if there is one.
pub fn read(path: &Path) -> Result<Option<Pin>, PinError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(PinError::Io { path: path.to_path_buf(), source });
        }
    };
    Pin::from_bytes(&bytes)
        .map(Some)
        .map_err(|source| PinError::Damaged { path: path.to_path_buf(), source })
}

/// Keeps a pin, durably.
pub fn write(path: &Path, pin: &Pin) -> Result<(), PinError> {
    write_durably(path, &pin.to_bytes())
        .map_err(|source| PinError::Io { path: path.to_path_buf(), source })
}

/// Makes a folder and what is above it for this user alone, whatever the umask is.
pub fn private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Replaces a file at once and durably: temporary file beside it, sync, rename, sync the folder.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::other("a file is in a folder"))?;
    private_folder(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    File::open(folder)?.sync_all()
}
