//! Files that get their own name in one step once they are whole. Until then they have none, or a
//! temporary one where a file without a name cannot be.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::apply::{Subject, apply};
use super::error::TargetError;
use super::handle::Handle;
use super::policy::{Note, Overwrite, Policy};
use super::root::{FileId, TargetDir};
use super::unnamed::link;
use crate::scan::os::fstat;
use crate::tree::entry::{Meta, Name};

/// A regular file that is being written. Removed again if dropped before [`commit`](Self::commit).
///
/// All writing goes to the open file, whatever becomes of its name meanwhile. What is never
/// written stays a hole.
#[derive(Debug)]
pub struct TempFile {
    place: Place,
    name: Name,
    fd: OwnedFd,
}

/// Where a file is until it has its name.
#[derive(Debug)]
enum Place {
    /// It has none, and is to have one in this directory.
    Unnamed(TargetDir),
    Named(TempName),
}

impl TargetDir {
    /// Begins the file `name` in this directory: empty, not yet under that name, mode 0600.
    pub fn create_temp(&self, name: &Name) -> Result<TempFile, TargetError> {
        if let Some(fd) = self.create_unnamed(name) {
            return Ok(TempFile { place: Place::Unnamed(self.clone()), name: name.clone(), fd });
        }
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let create = |temp: &Name| rustix::fs::openat(self.fd(), temp.as_os_str(), flags, mode);
        let (temp, fd) = TempName::make(self, "create", name, create)?;
        Ok(TempFile { place: Place::Named(temp), name: name.clone(), fd })
    }
}

impl TempFile {
    /// Writes all of `bytes` at `offset`. Several threads may write different parts at once.
    pub fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> Result<(), TargetError> {
        while !bytes.is_empty() {
            match rustix::io::pwrite(&self.fd, bytes, offset) {
                Ok(0) => return Err(self.failed("write", Errno::IO)),
                Ok(written) => {
                    bytes = bytes.get(written..).unwrap_or_default();
                    offset = offset.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.failed("write", error)),
            }
        }
        Ok(())
    }

    /// Sets the length, in bytes. Growing leaves a hole.
    pub fn set_len(&self, length: u64) -> Result<(), TargetError> {
        rustix::fs::ftruncate(&self.fd, length).map_err(|error| self.failed("resize", error))
    }

    /// Waits until the content is on the disk.
    pub fn sync(&self) -> Result<(), TargetError> {
        rustix::fs::fsync(&self.fd).map_err(|error| self.failed("sync", error))
    }

    /// Which file this is and stays after the commit; for [`LinkSource`](super::special::LinkSource).
    pub fn id(&self) -> Result<FileId, TargetError> {
        let stat = fstat(&self.fd);
        stat.map(|stat| FileId::from(&stat))
            .map_err(|error| TargetError::io("look at", Some(&self.name), &error))
    }

    /// The name that it will have.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Sets the metadata and gives the file its name, in place of what has it now if the policy
    /// says so. A directory of that name is never replaced. The notes say what was left out.
    pub fn commit(self, meta: &Meta, policy: &Policy) -> Result<Vec<Note>, TargetError> {
        let Self { place, name, fd } = self;
        let dir = place.dir();
        let subject = Subject {
            handle: Handle::Open(fd.as_fd()),
            is_link: false,
            inherits_acl: dir.inherits_acl(),
            now: None,
            owner: dir.owner_of_new(fd.as_fd()),
        };
        let notes = apply(subject, meta, policy).map_err(|refused| refused.of(Some(&name)))?;
        match place {
            Place::Unnamed(dir) => dir.place_unnamed(&fd, &name, policy.overwrite)?,
            Place::Named(temp) => temp.place(&name, policy.overwrite)?,
        }
        Ok(notes)
    }

    fn failed(&self, action: &'static str, error: Errno) -> TargetError {
        TargetError::of(action, Some(&self.name), error)
    }
}

impl Place {
    const fn dir(&self) -> &TargetDir {
        match self {
            Self::Unnamed(dir) => dir,
            Self::Named(temp) => &temp.dir,
        }
    }
}

impl TargetDir {
    /// Gives a file that has no name its own, in one step.
    fn place_unnamed(
        &self,
        file: &OwnedFd,
        name: &Name,
        overwrite: Overwrite,
    ) -> Result<(), TargetError> {
        match link(file, self.fd(), name) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) if overwrite == Overwrite::Replace => {
                // A link takes no other's place, a change of the name does.
                let make = |temp: &Name| link(file, self.fd(), temp);
                let (temp, ()) = TempName::make(self, "name", name, make)?;
                temp.place(name, overwrite)
            }
            Err(error) => Err(self.not_placed(name, error)),
        }
    }

    fn not_placed(&self, name: &Name, error: Errno) -> TargetError {
        match error {
            Errno::EXIST | Errno::ISDIR | Errno::NOTEMPTY => self.in_the_way(name),
            Errno::NOENT => TargetError::Raced { name: name.clone() },
            error => TargetError::of("name", Some(name), error),
        }
    }
}

impl AsFd for TempFile {
    /// For reading back what was written.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A temporary name in use. What has it is removed when this is dropped before it is placed.
#[derive(Debug)]
pub(super) struct TempName {
    pub(super) dir: TargetDir,
    pub(super) name: Name,
    placed: bool,
}

impl TempName {
    /// Makes something under a name that nothing has, by a call that fails if something has it.
    /// `action` and `purpose` are for the error.
    pub(super) fn make<T>(
        dir: &TargetDir,
        action: &'static str,
        purpose: &Name,
        make: impl Fn(&Name) -> Result<T, Errno>,
    ) -> Result<(Self, T), TargetError> {
        for _ in 0..ATTEMPTS {
            let name = dir.temp_name()?;
            match make(&name) {
                Ok(made) => {
                    return Ok((Self { dir: dir.clone(), name, placed: false }, made));
                }
                Err(Errno::EXIST | Errno::INTR) => {}
                Err(error) => return Err(TargetError::of(action, Some(purpose), error)),
            }
        }
        Err(TargetError::of(action, Some(purpose), Errno::EXIST))
    }

    /// Gives it its own name, in one step.
    pub(super) fn place(mut self, name: &Name, overwrite: Overwrite) -> Result<(), TargetError> {
        let renamed = match overwrite {
            Overwrite::Replace => self.rename(name),
            Overwrite::Never => self.rename_if_free(name),
        };
        match renamed {
            Ok(()) => {
                self.placed = true;
                Ok(())
            }
            Err(error) => Err(self.dir.not_placed(name, error)),
        }
    }

    /// As [`place`](Self::place), for a further name of a file that may have `name` already: then
    /// renaming does nothing and leaves the temporary name, which is removed in either case.
    pub(super) fn place_link(self, name: &Name, overwrite: Overwrite) -> Result<(), TargetError> {
        let leftover = Self { dir: self.dir.clone(), name: self.name.clone(), placed: false };
        let placed = self.place(name, overwrite);
        drop(leftover);
        placed
    }

    fn rename(&self, name: &Name) -> Result<(), Errno> {
        let fd = self.dir.fd();
        rustix::fs::renameat(fd, self.name.as_os_str(), fd, name.as_os_str())
    }

    fn rename_if_free(&self, name: &Name) -> Result<(), Errno> {
        let (fd, temp, name) = (self.dir.fd(), self.name.as_os_str(), name.as_os_str());
        match rustix::fs::renameat_with(fd, temp, fd, name, RenameFlags::NOREPLACE) {
            // Some file systems cannot; a link fails as well if the name is taken.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                rustix::fs::linkat(fd, temp, fd, name, AtFlags::empty())?;
                rustix::fs::unlinkat(fd, temp, AtFlags::empty())
            }
            other => other,
        }
    }
}

impl Drop for TempName {
    fn drop(&mut self) {
        if !self.placed {
            // Nothing more can be done; the name says what it was.
            rustix::fs::unlinkat(self.dir.fd(), self.name.as_os_str(), AtFlags::empty()).ok();
        }
    }
}

const ATTEMPTS: usize = 16;

#[cfg(test)]
mod tests;
