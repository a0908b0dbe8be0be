//! Where journals are kept. A narrow trait, so that tests can make any write or fsync fail.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{durable, raw};

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
    /// Keeps the journal that is there under another name too, so that a new one can take its
    /// place. None there is no error.
    fn keep_aside(&self, name: &str) -> io::Result<()>;
    /// The names of all journals, in no order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Removes a journal durably, and all that were kept aside under its name; who has it open
    /// keeps it until then. None there is no error.
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
        durable::sync_folder(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }
}

impl Journals for FsJournals {
    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn JournalFile>>> {
        let opened = OpenOptions::new().read(true).write(true).open(self.folder.join(name));
        match opened {
            Ok(file) => {
                // What a process that was killed had appended counts from here on.
                raw::sync_data(&file)?;
                Ok(Some(Arc::new(FsJournal(file))))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&self, name: &str, content: &[u8]) -> io::Result<()> {
        durable::write(&self.folder.join(name), &[content])
    }

    fn keep_aside(&self, name: &str) -> io::Result<()> {
        let path = self.folder.join(name);
        for number in 0..u32::MAX {
            let aside = self.folder.join(aside(name, number));
            match raw::link(&path, &aside) {
                Ok(()) => return durable::sync_folder(&self.folder),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                // A file system without links.
                Err(_unsupported) => return durable::write(&aside, &[&fs::read(&path)?]),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
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
        let asides = asides(name);
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(|other| other.starts_with(&asides)) {
                durable::remove(&entry.path())?;
            }
        }
        durable::remove(&self.folder.join(name))
    }
}

/// The name of a journal that was replaced.
pub fn aside(name: &str, number: u32) -> String {
    format!("{}{number}", asides(name))
}

/// How the names of the journals begin that this one has replaced.
pub fn asides(name: &str) -> String {
    format!(".old-{name}-")
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
        raw::write_at(&self.0, offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        raw::sync_data(&self.0)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        raw::cut(&self.0, length)
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemJournals;
    use super::*;

    fn content(journals: &dyn Journals, name: &str) -> Option<Vec<u8>> {
        let file = journals.open(name).unwrap()?;
        let mut bytes = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += file.read_at(u64::try_from(filled).unwrap(), &mut bytes[filled..]).unwrap();
        }
        Some(bytes)
    }

    /// What every body of [`Journals`] must do.
    fn conforms(journals: &dyn Journals) {
        assert_eq!(content(journals, "one"), None);
        assert!(journals.list().unwrap().is_empty());
        journals.keep_aside("one").unwrap();
        journals.create("one", b"begins").unwrap();
        journals.create("two", b"").unwrap();
        let mut names = journals.list().unwrap();
        names.sort_unstable();
        assert_eq!(names, ["one", "two"]);

        let file = journals.open("one").unwrap().unwrap();
        file.write_at(6, b" and goes on").unwrap();
        file.sync().unwrap();
        assert_eq!(content(journals, "one").unwrap(), b"begins and goes on");
        assert_eq!(file.read_at(18, &mut [0; 4]).unwrap(), 0);
        assert_eq!(file.read_at(99, &mut [0; 4]).unwrap(), 0);
        file.truncate(10).unwrap();
        assert_eq!((file.length().unwrap(), content(journals, "two").unwrap().len()), (10, 0));

        journals.keep_aside("one").unwrap();
        journals.create("one", b"anew").unwrap();
        assert_eq!(content(journals, "one").unwrap(), b"anew");
        assert_eq!(content(journals, &aside("one", 0)).unwrap(), b"begins and");
        assert_eq!(file.length().unwrap(), 10, "who has the old one open keeps it");
        journals.keep_aside("one").unwrap();
        assert_eq!(content(journals, &aside("one", 1)).unwrap(), b"anew");
        assert_eq!(journals.list().unwrap().len(), 2, "what is aside is not listed");

        journals.keep_aside("two").unwrap();
        journals.remove("one").unwrap();
        journals.remove("one").unwrap();
        assert_eq!(journals.list().unwrap(), ["two"]);
        assert_eq!(content(journals, "one"), None);
        assert_eq!(content(journals, &aside("one", 0)), None);
        assert_eq!(content(journals, &aside("one", 1)), None);
        assert_eq!(content(journals, &aside("two", 0)).unwrap(), b"");
        journals.create("one", b"").unwrap();
    }

    #[test]
    fn files_conform() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("journal");
        conforms(&FsJournals::open(&folder).unwrap());
        fs::write(folder.join(".tmp-00"), b"").unwrap();
        assert_eq!(FsJournals::open(&folder).unwrap().list().unwrap().len(), 2);
    }

    #[test]
    fn memory_conforms() {
        conforms(&MemJournals::default());
    }
}
