//! The file of a kit: new, private, whole, and on the disk before the vault is made.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Format, Kit, KitError};

/// A place for a kit, found before anything is asked or made.
#[derive(Debug)]
pub struct KitFile {
    path: PathBuf,
    folder: PathBuf,
    format: Format,
    place: Place,
}

/// Where the text goes. A program that is killed must leave no code under a name that nobody knows.
#[derive(Debug)]
enum Place {
    /// It has no name until all is written, and is gone with the program.
    Unnamed(File),
    /// Where the file system has none such (a FAT stick): at its name, empty until it is filled.
    Named(Own),
}

/// A file that was made here. Removed when this is dropped, unless it stays.
#[derive(Debug)]
struct Own {
    file: File,
    path: PathBuf,
    stays: bool,
}

/// A kit that is on the disk, and stays there unless it is removed.
#[derive(Debug)]
pub struct Written(Own);

impl KitFile {
    /// Makes sure that the file can be written, and is not there. Leaves nothing when dropped.
    pub fn prepare(path: &Path) -> Result<Self, KitError> {
        let format = Format::of(path)?;
        if path.symlink_metadata().is_ok() {
            return Err(KitError::Exists { path: path.to_path_buf() });
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let place = match unnamed_in(folder) {
            Some(file) => Place::Unnamed(file),
            None => Place::Named(Own::make(path)?),
        };
        Ok(Self { path: path.to_path_buf(), folder: folder.to_path_buf(), format, place })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the kit. It is on the disk when this returns; after an error there is no such file.
    pub fn write(self, kit: &Kit) -> Result<Written, KitError> {
        let Self { path, folder, format, place } = self;
        let text = match format {
            Format::Text => kit.to_text(),
            Format::Html => kit.to_html(),
        };
        let failed = |source| KitError::Write { path: path.clone(), source };
        let mut own = match place {
            Place::Named(own) => own.filled(text.as_bytes())?,
            Place::Unnamed(file) => {
                fill(&file, text.as_bytes()).map_err(failed)?;
                match name(&file, &path) {
                    Ok(()) => Own { file, path: path.clone(), stays: false },
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        return Err(KitError::Exists { path });
                    }
                    // Some file systems make such a file and cannot name it.
                    Err(_) => Own::make(&path)?.filled(text.as_bytes())?,
                }
            }
        };
        sync_folder(&folder).map_err(failed)?;
        own.stays = true;
        Ok(Written(own))
    }
}

impl Written {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Removes the kit of a vault that was not made; false if it is not where it was written.
    pub fn remove(self) -> bool {
        let Own { file, path, .. } = &self.0;
        let ours = file.metadata().and_then(|ours| {
            let there = path.symlink_metadata()?;
            Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino()))
        });
        ours.unwrap_or(false) && std::fs::remove_file(path).is_ok()
    }
}

impl Own {
    fn make(path: &Path) -> Result<Self, KitError> {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(file) => Ok(Self { file, path: path.to_path_buf(), stays: false }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(KitError::Exists { path: path.to_path_buf() })
            }
            Err(source) => Err(KitError::Write { path: path.to_path_buf(), source }),
        }
    }

    fn filled(self, text: &[u8]) -> Result<Self, KitError> {
        match fill(&self.file, text) {
            Ok(()) => Ok(self),
            Err(source) => Err(KitError::Write { path: self.path.clone(), source }),
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if !self.stays {
            std::fs::remove_file(&self.path).ok();
        }
    }
}

fn fill(mut file: &File, text: &[u8]) -> io::Result<()> {
    file.write_all(text)?;
    file.sync_all()
}

#[cfg(target_os = "linux")]
fn unnamed_in(folder: &Path) -> Option<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR).ok().map(File::from)
}

#[cfg(not(target_os = "linux"))]
fn unnamed_in(_: &Path) -> Option<File> {
    None
}

/// Gives this name to a file that has none, unless it is taken.
fn name(file: &File, path: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    use rustix::fs::{AtFlags, CWD};

    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::linkat(CWD, unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some file systems of FUSE and of other machines have no such thing.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
        {
            Ok(())
        }
        done => done,
    }
}
