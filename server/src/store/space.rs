//! Room on the disk: what is kept free, and a reserve that pays for journal records when nothing
//! else can be written.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use unseen_common::limits::MIN_PACK;

use super::lock;

/// What the reserve has on a disk that is large enough, in bytes.
pub const RESERVE: u64 = 64 * 1024 * 1024;
/// It is given back in pieces of this length.
const PIECE: u64 = 4 * 1024 * 1024;
/// The reserve takes at most this part of a small disk.
const RESERVE_PART: u64 = 16;
/// What is kept free unless told otherwise: so much, or this part of a small disk.
const KEEP_FREE: u64 = 256 * 1024 * 1024;
const KEEP_PART: u64 = 100;

/// The name of the reserve in its folder.
pub const FILE: &str = "reserve";

/// Room on a disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What this process may still write.
    pub free: u64,
    /// All of it.
    pub total: u64,
}

/// A disk that can be full. All calls block.
pub trait Space: Send + Sync + fmt::Debug {
    /// How much room there is.
    fn room(&self) -> io::Result<Room>;
    /// Length of the reserve.
    fn reserve(&self) -> io::Result<u64>;
    /// Cuts or extends the reserve to this length, so that the rest is free for others.
    fn set_reserve(&self, length: u64) -> io::Result<()>;
}

/// The disk below a folder; the reserve is a file in it.
#[derive(Debug)]
pub struct FolderSpace(PathBuf);

impl FolderSpace {
    /// Of this folder.
    pub fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    fn path(&self) -> PathBuf {
        self.0.join(FILE)
    }
}

impl Space for FolderSpace {
    fn room(&self) -> io::Result<Room> {
        let found = statvfs(&self.0)?;
        Ok(Room {
            free: found.f_bavail.saturating_mul(found.f_frsize),
            total: found.f_blocks.saturating_mul(found.f_frsize),
        })
    }

    fn reserve(&self) -> io::Result<u64> {
        match std::fs::metadata(self.path()) {
            Ok(found) => Ok(found.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn set_reserve(&self, length: u64) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(self.path())?;
        let have = file.metadata()?.len();
        if length <= have {
            return file.set_len(length).and_then(|()| file.sync_all());
        }
        let filled = fill(&mut file, have, length);
        if filled.is_err() {
            // Half a reserve that fills the disk is worse than none.
            drop(file.set_len(have));
        }
        filled
    }
}

/// Makes the file longer by bytes that are really there, which a hole would not be.
fn fill(file: &mut File, from: u64, to: u64) -> io::Result<()> {
    if fallocate(&*file, FallocateFlags::empty(), from, to - from).is_ok() {
        return file.sync_all();
    }
    let zeros = vec![0; 64 * 1024];
    file.seek(SeekFrom::Start(from))?;
    let mut left = usize::try_from(to - from).map_err(io::Error::other)?;
    while let Some(part) = zeros.get(..left.min(zeros.len())).filter(|part| !part.is_empty()) {
        file.write_all(part)?;
        left -= part.len();
    }
    file.sync_all()
}

/// What all accounts share of a disk. Without a [`Space`] nothing is watched.
#[derive(Debug, Default)]
pub struct Disk {
    watched: OnceLock<Watched>,
    /// Bytes of uploads that are under way.
    promised: Mutex<u64>,
}

#[derive(Debug)]
struct Watched {
    space: Box<dyn Space>,
    limits: DiskLimits,
}

/// How much of a disk is left alone, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskLimits {
    /// What packs leave free: by default 256 MiB, or a hundredth of a small disk.
    pub keep_free: Option<u64>,
    /// What the reserve has, at most a sixteenth of the disk.
    pub reserve: u64,
}

impl Default for DiskLimits {
    fn default() -> Self {
        Self { keep_free: None, reserve: RESERVE }
    }
}

/// No room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// Room that an upload will need; given back when this is dropped.
#[derive(Debug)]
pub struct Promise {
    disk: Arc<Disk>,
    bytes: u64,
}

impl Drop for Promise {
    fn drop(&mut self) {
        let mut promised = lock(&self.disk.promised);
        *promised = promised.saturating_sub(self.bytes);
    }
}

impl Disk {
    /// Watches a disk from here on and fills its reserve if there is room. The first call counts.
    pub fn watch(&self, space: Box<dyn Space>, limits: DiskLimits) {
        if self.watched.set(Watched { space, limits }).is_ok() {
            self.refill();
        }
    }

    /// Room for `bytes` more, if that leaves free what is to be kept free.
    pub fn promise(self: &Arc<Self>, bytes: u64) -> Result<Promise, Full> {
        let mut promised = lock(&self.promised);
        if let Some(watched) = self.watched.get() {
            let needed = bytes.saturating_add(*promised);
            match watched.spare() {
                Ok(spare) if spare < needed => return Err(Full),
                Ok(_) => {}
                Err(error) => tracing::warn!(kind = ?error.kind(), "free space is not known"),
            }
        }
        *promised = promised.saturating_add(bytes);
        Ok(Promise { disk: Arc::clone(self), bytes })
    }

    /// Whether the smallest pack would be refused; false where nothing is watched, or known.
    pub fn is_full(&self) -> bool {
        let spare = self.watched.get().map(Watched::spare);
        spare.is_some_and(|spare| spare.is_ok_and(|spare| spare < MIN_PACK))
    }

    /// Gives a piece of the reserve to whoever could not write; false if none is left.
    pub fn spend(&self) -> bool {
        let Some(watched) = self.watched.get() else {
            return false;
        };
        let spent = watched.space.reserve().and_then(|have| {
            if have > 0 {
                watched.space.set_reserve(have.saturating_sub(PIECE))?;
            }
            Ok(have > 0)
        });
        tracing::warn!(spent = ?spent.as_ref().ok(), "the disk is full; the reserve pays");
        spent.unwrap_or(false)
    }

    /// Fills the reserve again as soon as there is room for it.
    pub fn refill(&self) {
        let Some(watched) = self.watched.get() else {
            return;
        };
        let filled = watched.missing().and_then(|(missing, full, room)| {
            let kept = watched.keep_free(room);
            if missing > 0 && room.free >= kept.saturating_add(missing) {
                watched.space.set_reserve(full)?;
            }
            Ok(())
        });
        if let Err(error) = filled {
            tracing::warn!(kind = ?error.kind(), "the reserve could not be filled");
        }
    }
}

impl Watched {
    /// What packs may use.
    fn spare(&self) -> io::Result<u64> {
        let (missing, _, room) = self.missing()?;
        Ok(room.free.saturating_sub(self.keep_free(room)).saturating_sub(missing))
    }

    /// What the reserve lacks, what it should have, and the room there is.
    fn missing(&self) -> io::Result<(u64, u64, Room)> {
        let room = self.space.room()?;
        let full = self.limits.reserve.min(room.total / RESERVE_PART);
        Ok((full.saturating_sub(self.space.reserve()?), full, room))
    }

    fn keep_free(&self, room: Room) -> u64 {
        self.limits.keep_free.unwrap_or_else(|| KEEP_FREE.min(room.total / KEEP_PART))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::faults::SmallDisk;

    const MIB: u64 = 1024 * 1024;

    fn disk(total: u64, keep_free: Option<u64>) -> (Arc<Disk>, Arc<SmallDisk>) {
        let small = SmallDisk::new(total);
        let disk = Arc::new(Disk::default());
        disk.watch(Box::new(Arc::clone(&small)), DiskLimits { keep_free, ..DiskLimits::default() });
        (disk, small)
    }

    #[test]
    fn it_is_full_when_the_smallest_pack_is_refused() {
        let (disk, small) = disk(1600 * MIB, Some(100 * MIB));
        small.use_up(1500 * MIB - RESERVE - MIN_PACK);
        assert!(!disk.is_full() && disk.promise(MIN_PACK).is_ok());
        small.use_up(1);
        assert!(disk.is_full() && disk.promise(MIN_PACK).is_err());
        assert!(!Disk::default().is_full());
    }

    #[test]
    fn uploads_leave_free_what_is_kept_and_count_each_other() {
        let (disk, small) = disk(1600 * MIB, Some(100 * MIB));
        assert_eq!(small.reserve().unwrap(), RESERVE);
        let spare = 1600 * MIB - RESERVE - 100 * MIB;
        let first = disk.promise(spare - MIB).unwrap();
        assert_eq!(disk.promise(MIB + 1).unwrap_err(), Full);
        let second = disk.promise(MIB).unwrap();
        drop(first);
        drop(second);
        assert!(disk.promise(spare).is_ok());
        small.use_up(spare);
        assert_eq!(disk.promise(1).unwrap_err(), Full);
    }

    #[test]
    fn a_small_disk_keeps_small_parts() {
        let (disk, small) = disk(160 * MIB, None);
        assert_eq!(small.reserve().unwrap(), 10 * MIB);
        assert!(disk.promise(160 * MIB - 10 * MIB - 16 * MIB / 10 + 1).is_err());
        assert!(disk.promise(140 * MIB).is_ok());
    }

    #[test]
    fn the_reserve_is_spent_in_pieces_and_filled_again() {
        let (disk, small) = disk(1600 * MIB, Some(0));
        small.use_up(1600 * MIB - RESERVE);
        for left in (0..16).rev() {
            assert!(disk.spend());
            assert_eq!(small.reserve().unwrap(), left * PIECE);
        }
        assert!(!disk.spend());
        assert_eq!(disk.promise(1).unwrap_err(), Full, "what is free belongs to the reserve");
        disk.refill();
        assert_eq!(small.reserve().unwrap(), RESERVE);
        assert!(!Disk::default().spend(), "a disk that is not watched has no reserve");
    }

    #[test]
    fn the_reserve_is_a_file_with_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let space = FolderSpace::new(dir.path());
        assert_eq!(space.reserve().unwrap(), 0);
        space.set_reserve(3 * MIB).unwrap();
        assert_eq!(space.reserve().unwrap(), 3 * MIB);
        space.set_reserve(MIB).unwrap();
        assert_eq!(space.reserve().unwrap(), MIB);
        let room = space.room().unwrap();
        assert!(room.total >= room.free && room.total > 0);
    }
}
