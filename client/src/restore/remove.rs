//! Removing a directory with all that is in it.

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use super::error::TargetError;
use super::root::TargetDir;
use crate::scan::os::fstat;
use crate::tree::entry::Name;

impl TargetDir {
    /// Removes `name` and, if it is a directory, everything in it. Follows no link and stops at
    /// another file system.
    ///
    /// Any depth takes the same few open files: a directory that is not empty is moved up next to
    /// `name` first, under a temporary name, and taken apart there.
    pub fn remove_tree(&self, name: &Name) -> Result<(), TargetError> {
        let mut pending = vec![name.clone()];
        while let Some(next) = pending.pop() {
            self.take_apart(&next, &mut pending)?;
        }
        Ok(())
    }

    fn take_apart(&self, name: &Name, pending: &mut Vec<Name>) -> Result<(), TargetError> {
        let failed = |error| TargetError::of("remove", Some(name), error);
        let dir = match self.open_to_remove(name) {
            Ok(dir) => dir,
            Err(Errno::LOOP | Errno::NOTDIR) => return self.remove(name),
            Err(Errno::NOENT) => return Ok(()),
            Err(Errno::XDEV) => return Err(TargetError::OtherFileSystem { name: name.clone() }),
            Err(error) => return Err(failed(error)),
        };
        for (child, _) in dir.names()?.iter() {
            match rustix::fs::unlinkat(dir.fd(), child.as_os_str(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                // What POSIX and what Linux say of a directory.
                Err(Errno::PERM | Errno::ISDIR) => {}
                Err(error) => return Err(failed(error)),
            }
            match rustix::fs::unlinkat(dir.fd(), child.as_os_str(), AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::NOTEMPTY | Errno::EXIST) => pending.push(self.move_up(&dir, &child)?),
                Err(Errno::BUSY) => return Err(TargetError::OtherFileSystem { name: child }),
                Err(error) => return Err(failed(error)),
            }
        }
        match rustix::fs::unlinkat(self.fd(), name.as_os_str(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Opens a directory that is about to go, giving its owner the rights to empty it.
    fn open_to_remove(&self, name: &Name) -> Result<Self, Errno> {
        let dir = self.open_existing(name)?;
        let same = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        let (here, below) = (fstat(self.fd()).map_err(same)?, fstat(&dir).map_err(same)?);
        if here.dev != below.dev || here.mount_id != below.mount_id {
            return Err(Errno::XDEV);
        }
        rustix::fs::fchmod(&dir, Mode::RWXU).ok();
        Ok(self.sibling(dir))
    }

    fn move_up(&self, from: &Self, child: &Name) -> Result<Name, TargetError> {
        // Moving a directory elsewhere takes the right to write to it.
        from.open_existing(child).ok();
        let temp = self.temp_name()?;
        rustix::fs::renameat(from.fd(), child.as_os_str(), self.fd(), temp.as_os_str())
            .map_err(|error| TargetError::of("remove", Some(child), error))?;
        Ok(temp)
    }
}

#[cfg(test)]
mod tests;
