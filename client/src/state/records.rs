//! Directory records: what a directory looked like when it was last saved.
//!
//! One header a directory and as many parts as it needs, each a sorted run of entries. The header
//! has the packs that the files of each part need, so that an unchanged directory costs no look-up
//! a file, and a summary of everything beneath. Headers and parts are blocks of one file; sled maps a directory to its header. Parts
//! are written at once, before their packs are known, the header last: a torn record is no record.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::blocks::Place;
use super::db::{StateDb, StateError};
use super::summary::{Summary, decode_packs, encode_packs};
use crate::crypto::content_id::ChunkId;
use crate::tree::entry::FileTime;

/// Bytes of entries in one part, about.
pub const PART: usize = 12 * 1024;
const VERSION: u8 = 4;
/// Name length, kind, inode, size, two times, two lengths.
const FIXED: usize = 1 + 1 + 8 + 8 + 12 + 12 + 4 + 4;
const RACY: u8 = 0x80;
const LINKED: u8 = 0x40;

/// Names a directory in the state: a hash of its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DirKey([u8; 16]);

impl DirKey {
    /// The key of a path.
    pub fn of(path: &[u8]) -> Self {
        let hash = blake3::hash(path);
        Self(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
    }

    /// The key's bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The key of these bytes.
    pub(super) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

/// Names the rules by which a directory was walked: what is left out, and what holds in it of the
/// rules that directories above it brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RulesKey(pub [u8; 16]);

/// The directory as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The rules by which it was walked.
    pub rules: RulesKey,
    /// It and everything beneath it.
    pub summary: Summary,
    /// Its tree.
    pub tree: ChunkId,
    /// All tree objects that belong to it alone: the tree's parts, content lists.
    pub objects: Vec<ChunkId>,
    /// The packs of these and of the tree.
    pub own: RoaringBitmap,
    /// Entries in all parts.
    pub entries: u64,
    /// Its parts, in order.
    pub parts: Vec<PartPlace>,
}

/// Where a part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartPlace {
    /// The block with its entries.
    pub place: Place,
    /// The packs that its files need.
    pub packs: RoaringBitmap,
}

/// What is compared to tell whether an entry has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// What kind it was, as `scan::os::FileType` numbers it.
    pub kind: u8,
    /// It changed so shortly before it was read that its time proves nothing.
    pub racy: bool,
    /// It is no directory and has other names.
    pub linked: bool,
    /// Inode number.
    pub ino: u64,
    /// Length in bytes.
    pub size: u64,
    /// Last modification.
    pub mtime: FileTime,
    /// Last change of the inode.
    pub ctime: FileTime,
}

/// One entry of a part.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// What it looked like.
    pub seen: Seen,
    /// Its name.
    pub name: &'a [u8],
    /// The entry as it stands in the tree.
    pub encoded: &'a [u8],
    /// For a file with content lists: their ids. Such a file has a part of its own, so that the
    /// part's packs are exactly the file's.
    pub lists: &'a [u8],
}

/// A sorted run of entries.
#[derive(Debug)]
pub struct Part {
    bytes: Vec<u8>,
    rows: Vec<u32>,
    /// The block that they are from.
    pub place: Place,
    /// The packs that its files need.
    pub packs: RoaringBitmap,
}

impl Part {
    /// The entries in `bytes`, from this place, if they are whole.
    pub fn parse(bytes: Vec<u8>, PartPlace { place, packs }: PartPlace) -> Option<Self> {
        let mut rest = bytes.as_slice();
        let mut rows = Vec::new();
        while !rest.is_empty() {
            rows.push(u32::try_from(bytes.len() - rest.len()).ok()?);
            let (_, after) = read_row(rest)?;
            rest = after;
        }
        Some(Self { bytes, rows, place, packs })
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Entry number `index`.
    pub fn row(&self, index: usize) -> Option<Row<'_>> {
        let at = *self.rows.get(index)? as usize;
        read_row(self.bytes.get(at..)?).map(|(row, _)| row)
    }
}

fn read_row(bytes: &[u8]) -> Option<(Row<'_>, &[u8])> {
    let (fixed, rest) = bytes.split_first_chunk::<FIXED>()?;
    let u64_at = |at: usize| fixed.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    let i64_at = |at: usize| fixed.get(at..at + 8)?.try_into().ok().map(i64::from_le_bytes);
    let u32_at = |at: usize| fixed.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let (name, rest) = rest.split_at_checked(usize::from(fixed[0]))?;
    let (encoded, rest) = rest.split_at_checked(u32_at(42)? as usize)?;
    let (lists, rest) = rest.split_at_checked(u32_at(46)? as usize)?;
    let seen = Seen {
        kind: fixed[1] & !(RACY | LINKED),
        racy: fixed[1] & RACY != 0,
        linked: fixed[1] & LINKED != 0,
        ino: u64_at(2)?,
        size: u64_at(10)?,
        mtime: FileTime { seconds: i64_at(18)?, nanos: u32_at(26)? },
        ctime: FileTime { seconds: i64_at(30)?, nanos: u32_at(38)? },
    };
    Some((Row { seen, name, encoded, lists }, rest))
}

/// Appends the bytes of an entry to a part in the making.
pub fn write_row(out: &mut Vec<u8>, row: &Row<'_>) {
    let seen = &row.seen;
    out.push(u8::try_from(row.name.len()).expect("names have at most 255 bytes"));
    let racy = if seen.racy { RACY } else { 0 };
    out.push(seen.kind | racy | if seen.linked { LINKED } else { 0 });
    out.extend_from_slice(&seen.ino.to_le_bytes());
    out.extend_from_slice(&seen.size.to_le_bytes());
    for time in [seen.mtime, seen.ctime] {
        out.extend_from_slice(&time.seconds.to_le_bytes());
        out.extend_from_slice(&time.nanos.to_le_bytes());
    }
    for part in [row.encoded, row.lists] {
        let length = u32::try_from(part.len()).expect("an entry is far below 4 GiB");
        out.extend_from_slice(&length.to_le_bytes());
    }
    out.extend_from_slice(row.name);
    out.extend_from_slice(row.encoded);
    out.extend_from_slice(row.lists);
}

/// Reads the entries of one record, part by part.
#[derive(Debug)]
pub struct RecordReader<'a> {
    db: &'a StateDb,
    /// The directory as a whole.
    pub header: Arc<Header>,
    next_part: usize,
}

impl<'a> RecordReader<'a> {
    /// The record of a directory, if there is one.
    pub fn open(db: &'a StateDb, key: DirKey) -> Result<Option<Self>, StateError> {
        let Some(place) = db.record(key)? else {
            return Ok(None);
        };
        let header = db.blocks.read(place).and_then(|bytes| parse_header(&bytes, key));
        Ok(header.map(|header| Self { db, header: Arc::new(header), next_part: 0 }))
    }

    /// The next part; `None` at the end, or when the record turns out to be torn.
    pub fn next_part(&mut self) -> Option<Arc<Part>> {
        let part = self.header.parts.get(self.next_part)?;
        self.next_part += 1;
        let rows = self.db.blocks.read(part.place)?;
        Part::parse(rows, part.clone()).map(Arc::new)
    }
}

/// The bytes of a header.
pub fn header_bytes(header: &Header, key: DirKey) -> Vec<u8> {
    let mut out = Vec::with_capacity(192 + 32 * header.objects.len() + 48 * header.parts.len());
    out.push(VERSION);
    out.extend_from_slice(&key.0);
    out.extend_from_slice(&header.rules.0);
    header.summary.encode(&mut out);
    out.extend_from_slice(&header.entries.to_le_bytes());
    out.extend_from_slice(&header.tree.0);
    let count = u32::try_from(header.objects.len()).expect("fewer than 2^32 objects a directory");
    out.extend_from_slice(&count.to_le_bytes());
    for id in &header.objects {
        out.extend_from_slice(&id.0);
    }
    encode_packs(&header.own, &mut out);
    for part in &header.parts {
        out.extend_from_slice(&part.place.to_bytes());
        encode_packs(&part.packs, &mut out);
    }
    out
}

/// Reads a header and the key of the directory that it is of.
pub fn parse_keyed(bytes: &[u8]) -> Option<(DirKey, Header)> {
    let key = DirKey(*bytes.get(1..)?.first_chunk()?);
    parse_header(bytes, key).map(|header| (key, header))
}

/// Reads a header, if it is that of this directory: after a crash, the place where sled has one may
/// hold that of another.
pub fn parse_header(bytes: &[u8], key: DirKey) -> Option<Header> {
    let rest = bytes.strip_prefix(&[VERSION])?.strip_prefix(&key.0)?;
    let (rules, rest) = rest.split_first_chunk::<16>()?;
    let (summary, rest) = Summary::decode(rest)?;
    let (entries, rest) = rest.split_first_chunk::<8>()?;
    let (tree, rest) = rest.split_first_chunk::<32>()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let length = (u32::from_le_bytes(*count) as usize).checked_mul(32)?;
    let (ids, rest) = rest.split_at_checked(length)?;
    let (ids, _) = ids.as_chunks::<32>();
    let (own, rest) = decode_packs(rest)?;
    let mut parts = Vec::new();
    let mut left = rest;
    while !left.is_empty() {
        let (place, after) = left.split_first_chunk::<{ Place::LEN }>()?;
        let (packs, after) = decode_packs(after)?;
        parts.push(PartPlace { place: Place::from_bytes(place), packs });
        left = after;
    }
    Some(Header {
        rules: RulesKey(*rules),
        summary,
        tree: ChunkId(*tree),
        objects: ids.iter().map(|id| ChunkId(*id)).collect(),
        own,
        entries: u64::from_le_bytes(*entries),
        parts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(ino: u64) -> Seen {
        let time = FileTime { seconds: -5, nanos: 999 };
        let (racy, linked) = (ino.is_multiple_of(2), ino.is_multiple_of(3));
        Seen { kind: 3, racy, linked, ino, size: ino * 3, mtime: time, ctime: time }
    }

    #[test]
    fn records_come_back_and_torn_ones_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let db = StateDb::open(dir.path()).unwrap();
        let key = DirKey::of(b"/home");
        assert!(RecordReader::open(&db, key).unwrap().is_none());
        let packs: RoaringBitmap = [1, 5, 900].into_iter().collect();
        let mut rows = Vec::new();
        for ino in 0..10 {
            let name = format!("n{ino}");
            write_row(
                &mut rows,
                &Row { seen: seen(ino), name: name.as_bytes(), encoded: b"entry", lists: b"p" },
            );
        }
        let place = db.blocks.append(&rows).unwrap();
        let summary = Summary { again: true, packs: packs.clone(), ..Summary::default() };
        let header = Header {
            rules: RulesKey([4; 16]),
            summary,
            tree: ChunkId([1; 32]),
            objects: vec![ChunkId([2; 32])],
            own: [5, 6].into_iter().collect(),
            entries: 10,
            parts: vec![PartPlace { place, packs: packs.clone() }],
        };
        db.set_record(key, &header).unwrap();
        db.flush().unwrap();
        let mut reader = RecordReader::open(&db, key).unwrap().unwrap();
        assert_eq!(*reader.header, header);
        let part = reader.next_part().unwrap();
        assert_eq!((part.len(), &part.packs), (10, &packs));
        let row = part.row(7).unwrap();
        let found = (row.seen, row.name, row.encoded, row.lists);
        assert_eq!(found, (seen(7), &b"n7"[..], &b"entry"[..], &b"p"[..]));
        assert!(reader.next_part().is_none());

        let torn = PartPlace { place: Place { length: place.length - 1, ..place }, packs };
        db.set_record(key, &Header { parts: vec![torn], ..header }).unwrap();
        db.flush().unwrap();
        let mut reader = RecordReader::open(&db, key).unwrap().unwrap();
        assert!(reader.next_part().is_none(), "a torn part");
    }

    #[test]
    fn rewriting_keeps_what_lives() {
        let dir = tempfile::tempdir().unwrap();
        let db = StateDb::open(dir.path()).unwrap();
        let packs = RoaringBitmap::new();
        let mut rows = Vec::new();
        write_row(&mut rows, &Row { seen: seen(1), name: b"n", encoded: &[7; 5000], lists: b"" });
        let keys: Vec<DirKey> = (0_u32..50).map(|n| DirKey::of(&n.to_le_bytes())).collect();
        for round in 0_u8..10 {
            for key in &keys {
                let place = db.blocks.append(&rows).unwrap();
                let parts = vec![PartPlace { place, packs: packs.clone() }];
                let tree = ChunkId([round; 32]);
                let (rules, summary) = (RulesKey::default(), Summary::default());
                let (objects, own) = (Vec::new(), packs.clone());
                let header = Header { rules, summary, tree, objects, own, entries: 1, parts };
                db.set_record(*key, &header).unwrap();
            }
        }
        db.flush().unwrap();
        let before = db.blocks.len();
        drop(db);
        let mut db = StateDb::open(dir.path()).unwrap();
        db.rewrite_records(0).unwrap();
        assert!(db.blocks.len() * 8 < before, "{} of {before}", db.blocks.len());
        drop(db);
        let db = StateDb::open(dir.path()).unwrap();
        for key in &keys {
            let mut reader = RecordReader::open(&db, *key).unwrap().unwrap();
            assert_eq!(reader.header.tree, ChunkId([9; 32]));
            assert_eq!(reader.next_part().unwrap().row(0).unwrap().encoded, &[7; 5000]);
        }
    }
}
