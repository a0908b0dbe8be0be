//! The names in a directory, packed: a directory of a million entries takes two allocations.

use std::io::{self, Read};

use super::exclude::Listing;
use super::os::{Dir, FileType};
use crate::tree::entry::Name;

/// The names in a directory and what the listing said they are.
///
/// Eight bytes an entry and the bytes of the names.
#[derive(Debug, Default)]
pub struct Names {
    /// All names, one after the other, in the file system's order.
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    unusable: Vec<Vec<u8>>,
}

/// Names of larger directories are sorted without keys, which take 16 bytes each.
const KEYED: usize = 64 * 1024;

/// Where a name begins in the arena (upper 48 bits), its length and its kind (8 bits each).
#[derive(Debug, Clone, Copy)]
struct Slot(u64);

impl Names {
    /// The number of names.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Name and kind, in order of the names' bytes. The kind may be [`FileType::Unknown`], and it
    /// may be out of date by the time the entry is looked at.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Name, FileType)> + '_ {
        self.slots.iter().map(|&slot| {
            let name = Name::new(self.bytes_of(slot)).expect("push keeps only names that pass");
            (name, slot.kind())
        })
    }

    /// Entry number `index` in that order.
    pub fn get(&self, index: usize) -> Option<(Name, FileType)> {
        let slot = *self.slots.get(index)?;
        let name = Name::new(self.bytes_of(slot)).expect("push keeps only names that pass");
        Some((name, slot.kind()))
    }

    /// Whether there is an entry of this name.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.slots.binary_search_by(|&slot| self.bytes_of(slot).cmp(name)).is_ok()
    }

    /// So many names come before this one in that order, or are it.
    pub(super) fn count_through(&self, name: &[u8]) -> usize {
        self.slots.partition_point(|&slot| self.bytes_of(slot) <= name)
    }

    /// Names, and kinds as [`FileType::of_code`] takes them.
    pub(super) fn raw(&self) -> impl Iterator<Item = (&[u8], u8)> {
        self.slots.iter().map(|&slot| (self.bytes_of(slot), slot.byte(0)))
    }

    /// Bytes of memory in use.
    pub(super) fn held(&self) -> usize {
        self.bytes.len() + self.slots.len() * size_of::<Slot>()
    }

    /// Begins anew, in the same memory. Those that are [no names](Self::unusable) stay.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.slots.clear();
    }

    /// The same, and gives the memory back.
    pub(super) fn forget(&mut self) {
        (self.bytes, self.slots) = (Vec::new(), Vec::new());
    }

    /// Names that no snapshot can hold, such as one of over 255 bytes on a vfat file system.
    pub fn unusable(&self) -> &[Vec<u8>] {
        &self.unusable
    }

    pub(super) fn push(&mut self, name: &[u8], kind: FileType) {
        match u8::try_from(name.len()) {
            Ok(length) if Name::is_one(name) => {
                self.slots.push(Slot::new(self.bytes.len(), length, kind));
                self.bytes.extend_from_slice(name);
            }
            _ => self.unusable.push(name.to_vec()),
        }
    }

    pub(super) fn sort(&mut self) {
        let mut slots = std::mem::take(&mut self.slots);
        if slots.len() > KEYED {
            slots.sort_unstable_by(|&a, &b| self.bytes_of(a).cmp(self.bytes_of(b)));
            self.slots = slots;
            return;
        }
        let same = self.common(&slots);
        let key = |&slot| (key_of(self.bytes_of(slot).get(same..).unwrap_or_default()), slot);
        let mut keyed: Vec<(u64, Slot)> = slots.iter().map(key).collect();
        keyed.sort_unstable_by(|(a, slot), (b, other)| {
            a.cmp(b).then_with(|| self.bytes_of(*slot).cmp(self.bytes_of(*other)))
        });
        slots.clear();
        slots.extend(keyed.iter().map(|(_, slot)| *slot));
        self.slots = slots;
    }

    /// So many bytes at the start are the same in all names.
    fn common(&self, slots: &[Slot]) -> usize {
        let Some((first, rest)) = slots.split_first() else {
            return 0;
        };
        let first = self.bytes_of(*first);
        rest.iter().fold(first.len(), |same, slot| {
            let both = first.iter().zip(self.bytes_of(*slot)).take(same);
            both.take_while(|(a, b)| a == b).count()
        })
    }

    fn bytes_of(&self, slot: Slot) -> &[u8] {
        let start = slot.start();
        self.bytes.get(start..start + slot.length()).expect("a slot points into its own arena")
    }
}

/// The first eight bytes of what is left of a name, as a number: names sort like their numbers, for
/// none has a zero byte. Only where these are equal must the names themselves be looked at.
fn key_of(rest: &[u8]) -> u64 {
    let mut key = [0; 8];
    for (to, from) in key.iter_mut().rev().zip(rest) {
        *to = *from;
    }
    u64::from_le_bytes(key)
}

impl Slot {
    fn new(start: usize, length: u8, kind: FileType) -> Self {
        let start = u64::try_from(start).expect("usize is at most 64 bits");
        Self(start << 16 | u64::from(length) << 8 | u64::from(code(kind)))
    }

    fn start(self) -> usize {
        usize::try_from(self.0 >> 16).expect("it was a usize")
    }

    fn length(self) -> usize {
        usize::from(self.byte(1))
    }

    fn kind(self) -> FileType {
        FileType::of_code(self.byte(0))
    }

    fn byte(self, index: usize) -> u8 {
        self.0.to_le_bytes()[index]
    }
}

fn code(kind: FileType) -> u8 {
    match kind {
        FileType::Unknown => 0,
        FileType::File => 1,
        FileType::Directory => 2,
        FileType::Symlink => 3,
        FileType::Fifo => 4,
        FileType::Socket => 5,
        FileType::CharDevice => 6,
        FileType::BlockDevice => 7,
    }
}

impl FileType {
    /// The kind of a number that [`code`] gave.
    pub(super) fn of_code(code: u8) -> Self {
        KINDS.get(usize::from(code)).copied().unwrap_or(Self::Unknown)
    }
}

/// In the order of [`code`].
const KINDS: [FileType; 8] = [
    FileType::Unknown,
    FileType::File,
    FileType::Directory,
    FileType::Symlink,
    FileType::Fifo,
    FileType::Socket,
    FileType::CharDevice,
    FileType::BlockDevice,
];

/// A directory as the rules look at it.
#[derive(Debug)]
pub struct Folder<'a> {
    /// The directory.
    pub dir: &'a Dir,
    /// The names in it; without, the file system is asked.
    pub names: Option<&'a Names>,
}

impl Listing for Folder<'_> {
    fn has(&self, name: &[u8]) -> bool {
        match self.names {
            Some(names) => names.contains(name),
            None => Name::new(name).is_ok_and(|name| self.dir.stat(&name).is_ok()),
        }
    }

    fn head(&self, name: &[u8], limit: usize) -> io::Result<Vec<u8>> {
        let name = Name::new(name).map_err(io::Error::other)?;
        let mut head = Vec::new();
        self.dir.open_file(&name)?.take(limit as u64).read_to_end(&mut head)?;
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_kind_survives_packing() {
        for kind in KINDS {
            assert_eq!(Slot::new(7, 3, kind).kind(), kind);
        }
    }

    #[test]
    fn names_that_cannot_be_kept_are_reported() {
        let mut names = Names::default();
        names.push(&[b'x'; 256], FileType::File);
        names.push(b"a/b", FileType::File);
        names.push(&[b'y'; 255], FileType::File);
        assert_eq!(names.len(), 1);
        assert_eq!(names.unusable(), [vec![b'x'; 256], b"a/b".to_vec()]);
    }

    proptest! {
        #[test]
        fn comes_back_sorted_and_whole(raw in proptest::collection::btree_set(
            proptest::collection::vec(prop_oneof![any::<u8>(), b'a'..=b'b'], 1..40), 0..60,
        ), start in 0_usize..20, rotate in 0_usize..60) {
            let raw = raw.into_iter().map(|rest| [vec![b'x'; start], rest].concat());
            let raw: Vec<Vec<u8>> = raw.collect();
            let wanted: Vec<Name> = raw.iter().filter_map(|bytes| Name::new(bytes).ok()).collect();
            let mut shuffled = wanted.clone();
            if !shuffled.is_empty() {
                let by = rotate % shuffled.len();
                shuffled.rotate_left(by);
            }
            let mut names = Names::default();
            for (index, name) in shuffled.iter().enumerate() {
                names.push(name.as_bytes(), KINDS[index % KINDS.len()]);
            }
            names.sort();
            let got: Vec<Name> = names.iter().map(|(name, _)| name).collect();
            prop_assert_eq!(got, wanted);
        }
    }
}
