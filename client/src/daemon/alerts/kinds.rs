//! Which files make sense and which look like noise, and how many of those that made sense are
//! noise now. Who encrypts files leaves nothing but noise: no format begins like that. Photos,
//! films and archives cannot be compressed either, but say at their beginning what they are, so
//! that neither their coming nor their being rewritten looks like it.
//!
//! Of many files some are known, always the same ones: those whose hash ends with so many zeros.
//! They stand for all the others. It takes the same room however many there are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use data_encoding::BASE64_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::progress::{Change, Item};

/// Files that are known at most.
const MOST: usize = 1024;
/// So much of a file is looked at.
pub(super) const HEAD: usize = 4096;
/// In less than this nothing can be told.
const LEAST: usize = 128;
/// Bytes of a hash.
const HASH: usize = 6;
/// The bit of a kept hash that says that the file looks like noise.
const NOISE: u64 = 1 << 47;
/// Bytes of the hash of a directory.
const DIR: usize = 4;
/// A known file as bytes.
const ENTRY: usize = HASH + DIR;

/// How formats begin whose content is dense from the start. What says what it is, is no noise.
const FORMATS: [&[u8]; 42] = [
    // Archives, and all that is one inside.
    b"PK",
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ",
    b"\x28\xb5\x2f\xfd",
    b"\x04\x22\x4d\x18",
    b"7z\xbc\xaf",
    b"Rar!",
    b"LZIP",
    b"\x5d\0\0",
    b"\x78\x01",
    b"\x78\x5e",
    b"\x78\x9c",
    b"\x78\xda",
    b"MSCF",
    // Pictures.
    b"\xff\xd8\xff",
    b"\x89PNG",
    b"GIF8",
    b"RIFF",
    b"\xff\x0a",
    b"\0\0\0\x0cJXL",
    b"II*\0",
    b"MM\0*",
    b"8BPS",
    b"\0\0\0\x0cjP",
    // Sound and films.
    b"ID3",
    b"OggS",
    b"fLaC",
    b"\x1a\x45\xdf\xa3",
    b"FORM",
    b"FLV",
    b"\0\0\x01\xba",
    b"\x30\x26\xb2\x75",
    // Documents, fonts, programs' own.
    b"%PDF",
    b"\xd0\xcf\x11\xe0",
    b"wOF2",
    b"wOFF",
    b"SQLite",
    b"PACK",
    b"\xfftOc",
    // What is encrypted by design.
    b"age-encryption",
    b"\x03\xd9\xa2\x9a",
];

/// What a file looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Text, or a format that says what it is, or anything with a pattern.
    Sense,
    /// As if it were random.
    Noise,
}

/// What a file looks like that begins with these bytes; none if that cannot be told.
pub(super) fn judge(head: &[u8]) -> Option<Look> {
    if head.len() < LEAST {
        return None;
    }
    let mut counts = [0_u64; 256];
    for byte in head {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    // Of random bytes one pair in 256 is equal; twice as many are still close to that, and less
    // than half of what any text has, base64 too.
    let equal: u64 = counts.iter().map(|count| count * count.saturating_sub(1)).sum();
    let pairs = u64::try_from(head.len()).map_or(u64::MAX, |n| n.saturating_mul(n - 1));
    let random = equal.saturating_mul(256) <= pairs.saturating_mul(2);
    Some(if random && !is_format(head) { Look::Noise } else { Look::Sense })
}

fn is_format(head: &[u8]) -> bool {
    let known = FORMATS.iter().any(|format| head.starts_with(format));
    // Films and pictures of phones; and sound without a head.
    let box_of_film = head.get(4..8).is_some_and(|kind| kind == b"ftyp" || kind == b"moov");
    let sound =
        matches!(head, [0xff, second, ..] if second & 0xe6 == 0xe2 || second & 0xf6 == 0xf0);
    let packets = head.first() == Some(&0x47) && head.get(188) == Some(&0x47);
    known || box_of_film || sound || packets
}

/// A file that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    look: Look,
    /// Names its directory.
    dir: u32,
}

/// The files of a set that are known.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Kinds {
    /// So many zeros a hash ends with.
    level: u32,
    files: BTreeMap<u64, Known>,
    /// What was not changed may have been saved by somebody else.
    doubted: bool,
}

impl std::fmt::Debug for Kinds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kinds({} files, level {})", self.files.len(), self.level)
    }
}

/// What a run saw of such files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Looks {
    known: Arc<Kinds>,
    level: u32,
    seen: BTreeMap<u64, Seen>,
    /// Directories of known files in which something else is now.
    changed: BTreeSet<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    new: bool,
    look: Option<Look>,
    dir: u32,
}

impl Looks {
    /// Nothing yet; this was known before.
    pub fn after(known: Arc<Kinds>) -> Self {
        Self { level: known.level, known, ..Self::default() }
    }

    /// Takes in what became of a file or directory. `look` looks at a file; that is done only where
    /// it tells something.
    pub fn done(&mut self, item: &Item<'_>, look: impl FnOnce(&[u8]) -> Option<Look>) {
        if item.is_dir {
            if item.change == Change::Changed {
                self.changed.insert(dir_of(item.path));
            }
            return;
        }
        let hash = hash_of(item.path);
        let is_there = matches!(item.change, Change::New | Change::Changed | Change::Unmodified);
        if !is_there || hash.trailing_zeros() < self.level {
            return;
        }
        let is_same = item.change == Change::Unmodified;
        if is_same && self.seen.contains_key(&hash) {
            // A second pass has nothing to add.
            return;
        }
        let as_known = is_same && !self.known.doubted && self.known.files.contains_key(&hash);
        let too_small = usize::try_from(item.size).is_ok_and(|size| size < LEAST);
        let look = if as_known || too_small { None } else { look(item.path) };
        let dir = dir_of(parent(item.path));
        self.seen.insert(hash, Seen { new: item.change == Change::New, look, dir });
        while self.seen.len() > MOST {
            self.level += 1;
            let level = self.level;
            self.seen.retain(|hash, _| hash.trailing_zeros() >= level);
        }
        if self.changed.len() > MOST {
            let dirs: BTreeSet<u32> = self.known.files.values().map(|known| known.dir).collect();
            self.changed.retain(|dir| dirs.contains(dir));
        }
    }
}

impl Kinds {
    /// The same for a run that is to look at all of them once more, whatever has changed.
    #[must_use]
    pub fn in_doubt(self) -> Self {
        Self { doubted: true, ..self }
    }

    /// Takes in a run; a whole one has seen all that there is. About how many files made sense
    /// before and are noise now, or were replaced by noise of another name in the same directory.
    pub fn take(&mut self, looks: &Looks, whole: bool) -> u64 {
        self.rise(looks.level);
        // What made sense and is gone, and from where.
        let (mut went, mut from) = (0_u64, BTreeSet::new());
        self.files.retain(|hash, known| {
            let gone = !looks.seen.contains_key(hash) && looks.changed.contains(&known.dir);
            if gone && known.look == Look::Sense {
                went += 1;
                from.insert(known.dir);
            }
            !gone
        });
        let (mut turned, mut came, level) = (0_u64, 0, self.level);
        for (hash, seen) in looks.seen.iter().filter(|(hash, _)| hash.trailing_zeros() >= level) {
            let Some(look) = seen.look else { continue };
            let before = self.files.insert(*hash, Known { look, dir: seen.dir });
            if look == Look::Noise {
                turned += u64::from(before.is_some_and(|known| known.look == Look::Sense));
                came += u64::from(before.is_none() && seen.new && from.contains(&seen.dir));
            }
        }
        if whole {
            self.files.retain(|hash, _| looks.seen.contains_key(hash));
        }
        while self.files.len() > MOST {
            self.rise(self.level + 1);
        }
        (turned + came.min(went)).saturating_mul(1_u64.checked_shl(level).unwrap_or(u64::MAX))
    }

    /// Knows half as many for each step.
    fn rise(&mut self, level: u32) {
        if level > self.level {
            self.level = level;
            self.files.retain(|hash, _| hash.trailing_zeros() >= level);
        }
    }
}

fn hash_of(path: &[u8]) -> u64 {
    let hash = blake3::hash(path);
    let first = hash.as_bytes().first_chunk::<8>().map_or(0, |first| u64::from_le_bytes(*first));
    // Six bytes are kept, and one of their bits says what the file looks like.
    first & (NOISE - 1)
}

fn dir_of(path: &[u8]) -> u32 {
    let hash = blake3::hash(path);
    hash.as_bytes().first_chunk::<DIR>().map_or(0, |first| u32::from_le_bytes(*first))
}

fn parent(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    path.get(..end).unwrap_or_default()
}

/// As it is kept: the level, and all files in one text.
#[derive(Serialize, Deserialize)]
struct Kept {
    level: u32,
    files: String,
}

impl Serialize for Kinds {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(self.files.len() * ENTRY);
        for (hash, known) in &self.files {
            let word = if known.look == Look::Noise { hash | NOISE } else { *hash };
            bytes.extend(word.to_le_bytes().iter().take(HASH));
            bytes.extend_from_slice(&known.dir.to_le_bytes());
        }
        Kept { level: self.level, files: BASE64_NOPAD.encode(&bytes) }.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Kinds {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let bad = || serde::de::Error::custom("not a list of files");
        let kept = Kept::deserialize(from)?;
        let bytes = BASE64_NOPAD.decode(kept.files.as_bytes()).map_err(serde::de::Error::custom)?;
        if bytes.len() > MOST * ENTRY || kept.level > u64::BITS {
            return Err(bad());
        }
        let mut files = BTreeMap::new();
        for entry in bytes.chunks(ENTRY) {
            let (first, dir) = entry.split_first_chunk::<HASH>().ok_or_else(bad)?;
            let dir = u32::from_le_bytes(*dir.first_chunk::<DIR>().ok_or_else(bad)?);
            let mut word = [0; 8];
            word.iter_mut().zip(first).for_each(|(to, byte)| *to = *byte);
            let word = u64::from_le_bytes(word);
            let look = if word & NOISE == 0 { Look::Sense } else { Look::Noise };
            let hash = word & (NOISE - 1);
            if hash.trailing_zeros() < kept.level {
                return Err(bad());
            }
            files.insert(hash, Known { look, dir });
        }
        Ok(Self { level: kept.level, files, doubted: false })
    }
}

#[cfg(test)]
#[path = "kinds_tests.rs"]
mod tests;
