//! Where journals are kept. A narrow trait, so that tests can make any write or fsync fail.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::durable;

/// One journal file. All calls block.
pub trait JournalFile: Send + Sync + fmt::Debug {
    /// Its length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Reads some bytes at `offset`; zero at the end.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`, which is the end. Not durable.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything written durable. Never called again after an error.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file to `length`. Not durable.
    fn truncate(&self, length: u64) -> io::Result<()>;
}

/// The folder of journals.
pub trait Journals: Send + Sync + fmt::Debug {
    /// Opens a journal, if there is one.
    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn JournalFile>>>;
    /// Makes a journal with this content, durably and all at once.
    fn create(&self, name: &str, content: &[u8]) -> io::Result<()>;
    /// The names of all journals, in no order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Removes a journal durably; who has it open keeps it until then. None there is no error.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// Journals as files of a folder.
#[derive(Debug)]
pub struct FsJournals {
    folder: PathBuf,
}

impl FsJournals {
    /// Opens the folder, which is made if absent.
    pub fn open(folder: &Path) -> io::Result<Self> {
        durable::make_dirs(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }
}

impl Journals for FsJournals {
    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn JournalFile>>> {
        let opened = OpenOptions::new().read(true).write(true).open(self.folder.join(name));
        match opened {
            Ok(file) => Ok(Some(Arc::new(FsJournal(file)))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&self, name: &str, content: &[u8]) -> io::Result<()> {
        durable::write(&self.folder.join(name), &[content])
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            match entry?.file_name().into_string() {
                Ok(name) if !name.starts_with('.') => names.push(name),
                // Never written by us, or not finished.
                _ => {}
            }
        }
        Ok(names)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        durable::remove(&self.folder.join(name))
    }
}

#[derive(Debug)]
struct FsJournal(File);

impl JournalFile for FsJournal {
    fn length(&self) -> io::Result<u64> {
        self.0.metadata().map(|m| m.len())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(into, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
}
