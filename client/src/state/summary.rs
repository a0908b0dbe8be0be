//! What a directory record says of all that is in the directory and beneath it, so that a
//! directory in which nothing changed is taken without a look at what is beneath.

use roaring::RoaringBitmap;

use super::kinds::Kinds;
use crate::tree::manifest::Totals;

/// Entries, directories and bytes, and what kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Contents {
    /// As a manifest counts.
    pub totals: Totals,
    /// The same files by kind.
    pub kinds: Kinds,
}

impl Contents {
    /// Counts something that is no directory.
    pub fn file(&mut self, name: &[u8], size: u64) {
        self.totals.files += 1;
        self.totals.bytes += size;
        self.kinds.count(name, size);
    }

    /// Takes in what else there is.
    pub fn add(&mut self, other: &Self) {
        self.totals.files = self.totals.files.saturating_add(other.totals.files);
        self.totals.dirs = self.totals.dirs.saturating_add(other.totals.dirs);
        self.totals.bytes = self.totals.bytes.saturating_add(other.totals.bytes);
        self.kinds.add(&other.kinds);
    }
}

/// A directory with all that is beneath it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// The next run must look at the directory itself again, whatever is said to have changed: an
    /// entry was racy or could not be read, or has other names, through which it changes unheard.
    pub again_here: bool,
    /// That holds of the directory or of one beneath it.
    pub again: bool,
    /// What is in it.
    pub contents: Contents,
    /// All packs that it needs, those of its trees included.
    pub packs: RoaringBitmap,
}

const AGAIN_HERE: u8 = 1;
const AGAIN: u8 = 2;

impl Summary {
    /// Appends the encoded form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let here = if self.again_here { AGAIN_HERE } else { 0 };
        out.push(here | if self.again { AGAIN } else { 0 });
        let Totals { files, dirs, bytes } = self.contents.totals;
        for count in [files, dirs, bytes] {
            out.extend_from_slice(&count.to_le_bytes());
        }
        let kinds: Vec<_> = self.contents.kinds.counts().collect();
        out.push(u8::try_from(kinds.len()).expect("there are ten classes"));
        for (class, files, bytes) in kinds {
            out.push(class);
            out.extend_from_slice(&files.to_le_bytes());
            out.extend_from_slice(&bytes.to_le_bytes());
        }
        encode_packs(&self.packs, out);
    }

    /// Reads the encoded form; tells what follows it.
    pub fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (flags, rest) = bytes.split_first()?;
        let (files, rest) = u64_of(rest)?;
        let (dirs, rest) = u64_of(rest)?;
        let (bytes, rest) = u64_of(rest)?;
        let mut contents =
            Contents { totals: Totals { files, dirs, bytes }, kinds: Kinds::default() };
        let (count, mut rest) = rest.split_first()?;
        for _ in 0..*count {
            let (class, after) = rest.split_first()?;
            let (files, after) = u64_of(after)?;
            let (bytes, after) = u64_of(after)?;
            contents.kinds.set(*class, files, bytes)?;
            rest = after;
        }
        let (packs, rest) = decode_packs(rest)?;
        let (again_here, again) = (flags & AGAIN_HERE != 0, flags & AGAIN != 0);
        Some((Self { again_here, again, contents, packs }, rest))
    }
}

/// Appends packs after their length.
pub fn encode_packs(packs: &RoaringBitmap, out: &mut Vec<u8>) {
    let length = u32::try_from(packs.serialized_size()).expect("a bitmap is far below 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    packs.serialize_into(out).expect("writing to memory cannot fail");
}

/// Reads packs; tells what follows them.
pub fn decode_packs(bytes: &[u8]) -> Option<(RoaringBitmap, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (packs, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((RoaringBitmap::deserialize_from(packs).ok()?, rest))
}

fn u64_of(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_and_is_never_read_from_less() {
        let mut contents = Contents::default();
        contents.file(b"a.rs", 70_000);
        contents.file(b"b.jpg", u64::MAX / 2);
        contents.totals.dirs = 3;
        let packs = [1, 70_000, 9].into_iter().collect();
        let summary = Summary { again_here: false, again: true, contents, packs };
        let mut bytes = Vec::new();
        summary.encode(&mut bytes);
        let whole = bytes.len();
        bytes.extend_from_slice(b"rest");
        assert_eq!(Summary::decode(&bytes), Some((summary, &b"rest"[..])));
        for length in 0..whole {
            assert_eq!(Summary::decode(&bytes[..length]), None, "{length} bytes");
        }
    }
}
