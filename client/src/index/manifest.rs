//! The manifest: which runs make up the index, which packs they cover, which of those are dead.
//!
//! ```text
//! magic | version u32 | vault id | nonce 16 B | next run u64
//! count u32 | runs in the order of their numbers: number u64 | records u64 | header hash 32 B
//! covered packs: length u32 | Roaring bitmap      dead packs: the same
//! BLAKE3 of all before
//! ```

use std::fs::File;
use std::io::Read;
use std::path::Path;

use roaring::RoaringBitmap;

use super::error::{IndexError, Result};
use super::record::Origin;
use super::run::{MAX_RECORDS, RunEntry};

const MAGIC: &[u8; 8] = b"UNSEENIM";
const VERSION: u32 = 1;
const HASH: usize = 32;
/// Bytes. Both bitmaps of all four thousand million packs would not fit; a million packs take a
/// few hundred kilobytes.
const MAX_LENGTH: u64 = 256 << 20;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Manifest {
    pub(super) origin: Origin,
    /// The number of the next run.
    pub(super) next: u64,
    pub(super) runs: Vec<RunEntry>,
    /// Packs all of whose chunks are in the runs.
    pub(super) covered: RoaringBitmap,
    /// Packs whose records in the runs no longer count.
    pub(super) dead: RoaringBitmap,
}

impl Manifest {
    /// Of an index without content.
    pub(super) fn new(origin: Origin) -> Self {
        let (covered, dead) = (RoaringBitmap::new(), RoaringBitmap::new());
        Self { origin, next: 0, runs: Vec::new(), covered, dead }
    }

    /// What the file at `path` says; a new one if there is no such file.
    pub(super) fn read(path: &Path, fresh: Origin) -> Result<Self> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::new(fresh));
            }
            Err(error) => return Err(IndexError::io("open", path)(error)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_LENGTH).read_to_end(&mut bytes).map_err(IndexError::read(path))?;
        Self::decode(&bytes, fresh).map_err(|what| IndexError::damaged(path, what))
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, &'static str> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(self.origin.vault.as_bytes());
        bytes.extend_from_slice(&self.origin.nonce);
        bytes.extend_from_slice(&self.next.to_le_bytes());
        bytes.extend_from_slice(&length(self.runs.len())?);
        for run in &self.runs {
            bytes.extend_from_slice(&run.number.to_le_bytes());
            bytes.extend_from_slice(&run.records.to_le_bytes());
            bytes.extend_from_slice(&run.header);
        }
        for packs in [&self.covered, &self.dead] {
            bytes.extend_from_slice(&length(packs.serialized_size())?);
            packs.serialize_into(&mut bytes).or(Err("a bitmap cannot be written"))?;
        }
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        Ok(bytes)
    }

    fn decode(bytes: &[u8], expected: Origin) -> Result<Self, &'static str> {
        let (body, hash) = bytes.split_last_chunk::<HASH>().ok_or("it is too short")?;
        if blake3::hash(body).as_bytes() != hash {
            return Err("it fails its checksum");
        }
        let mut rest = body;
        if take(&mut rest)? != *MAGIC || u32::from_le_bytes(take(&mut rest)?) != VERSION {
            return Err("it has another format");
        }
        if take(&mut rest)? != *expected.vault.as_bytes() {
            return Err("it belongs to another vault");
        }
        let mut manifest = Self::new(Origin { nonce: take(&mut rest)?, ..expected });
        manifest.next = u64::from_le_bytes(take(&mut rest)?);
        for _ in 0..u32::from_le_bytes(take(&mut rest)?) {
            let number = u64::from_le_bytes(take(&mut rest)?);
            let records = u64::from_le_bytes(take(&mut rest)?);
            let header = take(&mut rest)?;
            let ascends = manifest.runs.last().is_none_or(|last| last.number < number);
            if !ascends || number >= manifest.next || !(1..=MAX_RECORDS).contains(&records) {
                return Err("a run in it cannot be");
            }
            manifest.runs.push(RunEntry { number, records, header });
        }
        manifest.covered = bitmap(&mut rest)?;
        manifest.dead = bitmap(&mut rest)?;
        // Nothing left over, and nothing said in another way than we would say it.
        if manifest.encode()? == bytes { Ok(manifest) } else { Err("it is not canonical") }
    }
}

fn length(length: usize) -> Result<[u8; 4], &'static str> {
    u32::try_from(length).map(u32::to_le_bytes).or(Err("it is too long"))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], &'static str> {
    let (taken, after) = rest.split_first_chunk().ok_or("it is too short")?;
    *rest = after;
    Ok(*taken)
}

fn bitmap(rest: &mut &[u8]) -> Result<RoaringBitmap, &'static str> {
    let length = u32::from_le_bytes(take(rest)?);
    let length = usize::try_from(length).or(Err("it is too long"))?;
    let (bytes, after) = rest.split_at_checked(length).ok_or("it is too short")?;
    *rest = after;
    RoaringBitmap::deserialize_from(bytes).or(Err("a bitmap in it cannot be"))
}
