//! A long file, which several workers read in pieces.
//!
//! It is opened once, so that all pieces are of the same file even if it is removed or replaced
//! meanwhile, and whatever there is to tell of it is told once.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::seen::DirPath;
use crate::scan::os::{Dir, Stat};
use crate::tree::entry::Name;

/// A longer file is read in pieces of this many bytes, unless that would be too many pieces.
pub const PIECE: u64 = 256 * 1024 * 1024;
/// Pieces of one file, at most: a file of exbibytes is next to nothing but one hole.
const MOST_PIECES: u64 = 64 * 1024;

/// What the pieces of a file share.
#[derive(Debug)]
pub struct LongFile {
    dir: Arc<Dir>,
    place: DirPath,
    /// Its name in its directory.
    pub name: Name,
    /// What it was when it was listed.
    pub stat: Stat,
    opened: Mutex<Opened>,
    told: Mutex<BTreeSet<String>>,
    /// What is known of where it has data.
    pub run: DataRun,
}

#[derive(Debug)]
enum Opened {
    NotYet,
    Open(Arc<File>),
    /// It cannot be read, and that was told.
    Lost,
}

impl LongFile {
    /// A file of this directory.
    pub fn new((dir, place): (&Arc<Dir>, &DirPath), name: Name, stat: Stat) -> Self {
        Self {
            dir: Arc::clone(dir),
            place: place.clone(),
            name,
            stat,
            opened: Mutex::new(Opened::NotYet),
            told: Mutex::default(),
            run: DataRun::default(),
        }
    }

    /// So many pieces make a file of this length, in bytes.
    pub fn pieces_of(size: u64) -> u64 {
        size.div_ceil(piece_len(size)).max(1)
    }

    /// Where a piece begins and ends, in bytes.
    pub fn range(&self, piece: u64) -> Range<u64> {
        let length = piece_len(self.stat.size);
        let at = |piece: u64| piece.saturating_mul(length).min(self.stat.size);
        at(piece)..at(piece.saturating_add(1))
    }

    /// Its path.
    pub fn path(&self) -> Vec<u8> {
        self.place.join(&self.name)
    }

    /// The file, which the first call opens; none if it was given up.
    pub fn open(&self) -> io::Result<Option<Arc<File>>> {
        let mut opened = lock(&self.opened);
        match &*opened {
            Opened::Lost => Ok(None),
            Opened::Open(file) => Ok(Some(Arc::clone(file))),
            Opened::NotYet => {
                let file = Arc::new(self.dir.open_file(&self.name)?);
                *opened = Opened::Open(Arc::clone(&file));
                Ok(Some(file))
            }
        }
    }

    /// One piece cannot be read, so there is no point in reading the others. Tells whether this is
    /// the first of them.
    pub fn give_up(&self) -> bool {
        !matches!(std::mem::replace(&mut *lock(&self.opened), Opened::Lost), Opened::Lost)
    }

    /// Whether this has not been told of the file yet.
    pub fn is_news(&self, what: &str) -> bool {
        lock(&self.told).insert(what.to_owned())
    }
}

/// A stretch of a file without holes that was found last. To look for its end again for each
/// piece would take time with the square of its length where the file lies in many fragments.
#[derive(Debug, Default)]
pub struct DataRun(Mutex<Range<u64>>);

impl DataRun {
    /// How far the data goes that is at this place; no farther than the place if nothing is known.
    pub fn until(&self, at: u64) -> u64 {
        let run = lock(&self.0);
        if run.contains(&at) { run.end } else { at }
    }

    /// There is data from `start` to `end`.
    pub fn learn(&self, run: Range<u64>) {
        *lock(&self.0) = run;
    }
}

fn piece_len(size: u64) -> u64 {
    PIECE.max(size.div_ceil(MOST_PIECES))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::os::fstat;

    fn file_of(folder: &std::path::Path, size: u64) -> LongFile {
        let file = File::create(folder.join("file")).expect("a file");
        file.set_len(8).expect("a length");
        let stat = Stat { size, ..fstat(&file).expect("what it is") };
        let dir = Arc::new(Dir::open_root(folder).expect("opens"));
        LongFile::new((&dir, &DirPath::root()), Name::new(b"file").expect("a name"), stat)
    }

    #[test]
    fn pieces_cover_any_length_and_are_not_too_many() {
        let folder = tempfile::tempdir().expect("a folder");
        for size in [0, 1, PIECE - 1, PIECE, PIECE + 1, 20 << 30, 1 << 44, (1 << 44) + 1, 1 << 63]
            .into_iter()
            .chain([u64::MAX])
        {
            let file = file_of(folder.path(), size);
            let pieces = LongFile::pieces_of(size);
            assert!((1..=MOST_PIECES).contains(&pieces), "{size}: {pieces}");
            let (mut at, mut last) = (0, 0);
            for piece in 0..pieces {
                let range = file.range(piece);
                assert_eq!(range.start, at, "{size}");
                (at, last) = (range.end, range.end - range.start);
            }
            assert_eq!(at, size);
            assert!(last > 0 || size == 0, "{size}: an empty piece");
        }
    }

    #[test]
    fn it_is_opened_once_and_lost_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = file_of(folder.path(), 8);
        let first = file.open().expect("opens").expect("is there");
        std::fs::remove_file(folder.path().join("file")).expect("removed");
        let second = file.open().expect("opens").expect("is there");
        assert!(Arc::ptr_eq(&first, &second));
        assert!(file.give_up() && !file.give_up());
        assert!(file.open().expect("no trouble").is_none());
        assert!(file.is_news("it changed") && !file.is_news("it changed"));
        let gone = file_of(folder.path(), 8);
        std::fs::remove_file(folder.path().join("file")).expect("removed");
        assert_eq!(gone.open().expect_err("it is gone").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_run_counts_where_it_is() {
        let run = DataRun::default();
        assert_eq!(run.until(0), 0);
        run.learn(10..20);
        assert_eq!([9, 10, 19, 20].map(|at| run.until(at)), [9, 20, 20, 20]);
    }
}
