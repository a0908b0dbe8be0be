//! The manifest: what a snapshot says of itself, sealed.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]

use minicbor::decode::Decoder;
use unseen_common::codec::{
    Canonical, DecodeError, Enc, EncodeResult, array_len, array_of, bytes_capped, bytes_n,
    optional, text_capped,
};
use unseen_common::id::{Hash, PackId, PackNumber};
use unseen_common::limits::MAX_MANIFEST;
use unseen_common::time::Timestamp;

use super::run_rules::RunRules;
use crate::crypto::content_id::ChunkId;

const VERSION: u8 = 1;
const MAX_TEXT: usize = 4096;
/// Most paths that a manifest names.
pub const MAX_PATHS: usize = 4096;
const MAX_PATH: usize = 65_536;
/// Most tags of a snapshot.
pub const MAX_TAGS: usize = 1024;
/// Problems that a manifest keeps; the rest is counted.
pub const MAX_ERRORS: usize = 1000;

/// Maps of chunks that a manifest names at most.
pub const MAX_MAPS: usize = 1024;

/// Everything about a snapshot that is not in its trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The name of the set.
    pub set: String,
    /// The paths as the user named them, made absolute.
    pub paths: Vec<Vec<u8>>,
    /// Host name.
    pub host: String,
    /// User name.
    pub user: String,
    /// Tags.
    pub tags: Vec<String>,
    /// When the run began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// Version of the program.
    pub program: String,
    /// The tree of `/`.
    pub root: ChunkId,
    /// What is in it.
    pub totals: Totals,
    /// What could not be read.
    pub errors: Vec<Problem>,
    /// How many things could not be read.
    pub error_count: u64,
    /// What the run left out; none where there are more rules than a manifest has room for.
    pub rules: Option<RunRules>,
    /// BLAKE3 of the disclosed record, so that a doctored one is found.
    pub disclosure_hash: Hash,
    /// Maps of chunks of the device's packs; not of all packs, and not only of the snapshot's.
    pub maps: Vec<MapRef>,
}

/// Where a map of chunks is: a pack that holds it and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapRef {
    /// The number of the pack, when the manifest was made.
    pub number: PackNumber,
    /// Its name.
    pub pack: PackId,
    /// The id of the map.
    pub chunk: ChunkId,
}

impl MapRef {
    /// As in a manifest.
    pub fn encode(&self, e: &mut Enc<'_>) -> EncodeResult {
        e.array(3)?.u32(self.number.0)?.bytes(self.pack.as_bytes())?.bytes(&self.chunk.0)?;
        Ok(())
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        array_of(d, 3, "place of a map")?;
        let number = PackNumber(d.u32()?);
        let pack = PackId::from_bytes(bytes_n(d, "pack of a map")?);
        Ok(Self { number, pack, chunk: ChunkId(bytes_n(d, "id of a map")?) })
    }
}

/// Counts over a whole snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Everything that is no directory.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Bytes of regular files, holes included.
    pub bytes: u64,
}

/// Something that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub path: Vec<u8>,
    /// Why, in words.
    pub why: String,
}

impl Canonical for Manifest {
    const WHAT: &'static str = "manifest";
    const CAP: usize = MAX_MANIFEST;

    fn encode(&self, e: &mut Enc<'_>) -> EncodeResult {
        e.array(if self.maps.is_empty() { 15 } else { 16 })?
            .u8(VERSION)?
            .str(&self.set)?
            .array(count(&self.paths))?;
        for path in &self.paths {
            e.bytes(path)?;
        }
        e.str(&self.host)?.str(&self.user)?.array(count(&self.tags))?;
        for tag in &self.tags {
            e.str(tag)?;
        }
        e.u64(self.start.0)?.u64(self.end.0)?.str(&self.program)?.bytes(&self.root.0)?;
        e.array(3)?.u64(self.totals.files)?.u64(self.totals.dirs)?.u64(self.totals.bytes)?;
        e.array(count(&self.errors))?;
        for problem in &self.errors {
            e.array(2)?.bytes(&problem.path)?.str(&problem.why)?;
        }
        e.u64(self.error_count)?;
        match &self.rules {
            Some(rules) => rules.encode(e)?,
            None => {
                e.null()?;
            }
        }
        e.bytes(self.disclosure_hash.as_bytes())?;
        if !self.maps.is_empty() {
            e.array(count(&self.maps))?;
        }
        for map in &self.maps {
            map.encode(e)?;
        }
        Ok(())
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let items = array_len(d, "manifest", 16)?;
        if items < 15 {
            return Err(DecodeError::Invalid("a manifest has 15 or 16 items"));
        }
        let version = d.u8()?;
        if version != VERSION {
            return Err(DecodeError::Unknown { what: "manifest version", number: version.into() });
        }
        let set = text(d, "set name")?;
        let mut paths = Vec::new();
        for _ in 0..array_len(d, "paths", MAX_PATHS)? {
            paths.push(bytes_capped(d, "path", MAX_PATH)?.to_vec());
        }
        let (host, user) = (text(d, "host name")?, text(d, "user name")?);
        let mut tags = Vec::new();
        for _ in 0..array_len(d, "tags", MAX_TAGS)? {
            tags.push(text(d, "tag")?);
        }
        let (start, end) = (Timestamp(d.u64()?), Timestamp(d.u64()?));
        let program = text(d, "program version")?;
        let root = ChunkId(bytes_n(d, "root tree")?);
        array_of(d, 3, "totals")?;
        let totals = Totals { files: d.u64()?, dirs: d.u64()?, bytes: d.u64()? };
        let mut errors = Vec::new();
        for _ in 0..array_len(d, "problems", MAX_ERRORS)? {
            array_of(d, 2, "problem")?;
            let path = bytes_capped(d, "path", MAX_PATH)?.to_vec();
            errors.push(Problem { path, why: text(d, "problem")? });
        }
        let error_count = d.u64()?;
        let rules = optional(d, RunRules::decode)?;
        let disclosure_hash = Hash::from_bytes(bytes_n(d, "disclosure hash")?);
        let mut maps = Vec::new();
        if items == 16 {
            for _ in 0..array_len(d, "maps of chunks", MAX_MAPS)? {
                maps.push(MapRef::decode(d)?);
            }
        }
        Ok(Self {
            set,
            paths,
            host,
            user,
            tags,
            start,
            end,
            program,
            root,
            totals,
            errors,
            error_count,
            rules,
            disclosure_hash,
            maps,
        })
    }
}

fn text(d: &mut Decoder<'_>, what: &'static str) -> Result<String, DecodeError> {
    Ok(text_capped(d, what, MAX_TEXT)?.to_owned())
}

fn count<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "tests index what they made")]
pub(crate) mod tests {
    use super::*;
    use crate::tree::run_rules::RunPattern;

    pub(crate) fn sample() -> Manifest {
        Manifest {
            set: "default".into(),
            paths: vec![b"/home/\xff".to_vec()],
            host: "host".into(),
            user: "user".into(),
            tags: vec!["a".into()],
            start: Timestamp(1),
            end: Timestamp(2),
            program: "0.1.0".into(),
            root: ChunkId([9; 32]),
            totals: Totals { files: 1, dirs: 2, bytes: 3 },
            errors: vec![Problem { path: b"/x".to_vec(), why: "denied".into() }],
            error_count: 1,
            rules: Some(RunRules {
                patterns: vec![RunPattern { text: b"*.\xff".to_vec(), any_case: true }],
                caches: true,
                if_present: vec![(b".nobackup".to_vec(), b"x".to_vec())],
                beside: vec![(b"target".to_vec(), b"Cargo.toml".to_vec())],
                larger_than: Some(7),
                git_ignore: false,
                one_file_system: true,
                own: vec![b"/home/me/.cache/unseen".to_vec()],
            }),
            disclosure_hash: Hash::from_bytes([1; 32]),
            maps: vec![MapRef {
                number: PackNumber(70),
                pack: PackId::from_bytes([2; 32]),
                chunk: ChunkId([3; 32]),
            }],
        }
    }

    #[test]
    fn round_trip_and_every_truncation_is_refused() {
        let bytes = sample().to_bytes();
        assert_eq!(Manifest::from_bytes(&bytes).unwrap(), sample());
        for end in 0..bytes.len() {
            assert!(Manifest::from_bytes(&bytes[..end]).is_err());
        }
        let unknown = Manifest { rules: None, maps: Vec::new(), ..sample() };
        let bytes = unknown.to_bytes();
        assert_eq!(Manifest::from_bytes(&bytes).unwrap(), unknown);
        // No maps are no item, and not an empty one.
        assert_eq!(bytes[0], 0x8f);
        let empty = [&[0x90], &bytes[1..], &[0x80]].concat();
        assert!(Manifest::from_bytes(&empty).is_err());
    }
}
