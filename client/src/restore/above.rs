//! The folders above what is restored in place.
//!
//! They belong to the machine and not to the snapshot: those that are there stay as they are, and
//! where one of them is a symbolic link (`/home` -> `/data/home`), the backup went through it and so
//! does the restore. But only where nobody else can have put it there: whoever may write to a
//! folder above could lead the files of a restore by root wherever he likes.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::apply::apply_dir_meta;
use super::error::TargetError;
use super::policy::{Overwrite, Policy};
use super::root::TargetDir;
use crate::scan::os::{FileType, Stat, fstat};
use crate::tree::entry::{Meta, Name};

/// Links that are followed one after the other, as Linux does.
const MOST_LINKS: usize = 40;

impl TargetDir {
    /// Opens the folder `name`, or what it leads to if it is a symbolic link that belongs to root
    /// or to this user and is in a folder where nobody else may replace it.
    pub(super) fn pass(&self, name: &Name) -> Result<Self, TargetError> {
        let failed = |error| TargetError::of("open the directory", Some(name), error);
        let mut at = self.clone();
        let mut todo = vec![name.as_bytes().to_vec()];
        let mut links = 0;
        while let Some(part) = todo.pop() {
            let part = match part.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    at = at.sibling(open(&at, c"..").map_err(failed)?);
                    continue;
                }
                part => Name::new(part).map_err(|_bad| failed(Errno::NAMETOOLONG))?,
            };
            match open(&at, part.as_os_str()) {
                Ok(fd) => at = at.sibling(fd),
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(failed(Errno::LOOP));
                    }
                    let text = at.trusted_link(&part, name)?;
                    if text.starts_with(b"/") {
                        at = at.sibling(open(&at, c"/").map_err(failed)?);
                    }
                    todo.extend(text.rsplit(|byte| *byte == b'/').map(<[u8]>::to_vec));
                }
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(at)
    }

    /// The same; makes the folder if there is nothing of that name. Whether it did.
    ///
    /// What was made gets its metadata at once, so that it does not stay closed if the restore ends
    /// early, and is to get it again when it is complete, for the time.
    pub(super) fn pass_or_make(
        &self,
        name: &Name,
        meta: &Meta,
        policy: &Policy,
    ) -> Result<(Self, bool), TargetError> {
        if let Err(error) = self.stat(name)
            && error.errno() == Some(Errno::NOENT)
        {
            let keep = Policy { overwrite: Overwrite::Never, ..policy.clone() };
            let made = self.make_dir(name, &keep)?;
            // Its owner goes on writing in it.
            let open = Meta { mode: meta.mode | 0o700, ..meta.clone() };
            // Should it fail, it fails again in the end and is told then.
            apply_dir_meta(&made, &open, policy).ok();
            return Ok((made, true));
        }
        let dir = self.pass(name)?;
        dir.remove_leftovers();
        Ok((dir, false))
    }

    /// The text of the link `part`; `name` is for the error.
    fn trusted_link(&self, part: &Name, name: &Name) -> Result<Vec<u8>, TargetError> {
        let failed = |error| TargetError::of("open the directory", Some(name), error);
        let (stat, text) = read_link(self, part).map_err(failed)?;
        let holder = fstat(self.fd()).map_err(|error| TargetError::io("look at", None, &error))?;
        if stat.file_type != FileType::Symlink {
            return Err(TargetError::InTheWay { name: name.clone(), found: stat.file_type });
        }
        let sticky = holder.mode & 0o1000 != 0;
        if is_trusted(stat.uid) && is_trusted(holder.uid) && (holder.mode & 0o002 == 0 || sticky) {
            Ok(text)
        } else {
            Err(TargetError::NotFollowed { name: name.clone() })
        }
    }
}

fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

/// Opens a folder, if need be without the right to list it: `/home` may be closed for that.
fn open(
    at: &TargetDir,
    name: impl rustix::path::Arg + Copy,
) -> Result<std::os::fd::OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(at.fd(), name, flags | OFlags::RDONLY, Mode::empty()) {
        #[cfg(target_os = "linux")]
        Err(Errno::ACCESS) => {
            rustix::fs::openat(at.fd(), name, flags | OFlags::PATH, Mode::empty())
        }
        other => other,
    }
}

/// What a link is and where it leads, both of the same link.
fn read_link(dir: &TargetDir, name: &Name) -> Result<(Stat, Vec<u8>), Errno> {
    let sorted = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let text = |read: Result<std::ffi::CString, Errno>| match read {
        Ok(text) => Ok(text.into_bytes()),
        // Not a link: the caller sees that.
        Err(Errno::INVAL | Errno::NOENT) => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    #[cfg(target_os = "linux")]
    {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let pin = rustix::fs::openat(dir.fd(), name.as_os_str(), flags, Mode::empty())?;
        let stat = fstat(&pin).map_err(sorted)?;
        Ok((stat, text(rustix::fs::readlinkat(&pin, c"", Vec::new()))?))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let stat = crate::scan::os::stat_at(dir.fd(), name).map_err(sorted)?;
        Ok((stat, text(rustix::fs::readlinkat(dir.fd(), name.as_os_str(), Vec::new()))?))
    }
}

#[cfg(test)]
mod tests;
