//! Everything that is neither a regular file nor a directory, and further names of files.
//!
//! All of it is made under a temporary name and moved into place, so that replacing is one step.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::apply::{Subject, apply};
use super::error::TargetError;
use super::handle::{Handle, Pin};
use super::policy::{Aspect, Note, Policy};
use super::root::{FileId, TargetDir};
use super::temp::TempName;
use crate::scan::os::{FileType, Stat, stat_at};
use crate::tree::entry::{DeviceNumber, Kind, Meta, Name};

/// Something to be made that has no content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special<'a> {
    /// A symbolic link with this text. It may lead anywhere: nothing here follows it.
    Symlink(&'a [u8]),
    /// A named pipe.
    Fifo,
    /// A socket; never made, only noted.
    Socket,
    /// A character device; made only by a privileged policy.
    CharDevice(DeviceNumber),
    /// A block device; made only by a privileged policy.
    BlockDevice(DeviceNumber),
}

impl<'a> Special<'a> {
    /// Of what a snapshot has; nothing of files and directories.
    pub(super) const fn of(kind: &'a Kind) -> Option<Self> {
        match kind {
            Kind::Symlink { target } => Some(Self::Symlink(target.as_slice())),
            Kind::Fifo => Some(Self::Fifo),
            Kind::Socket => Some(Self::Socket),
            Kind::CharDevice(number) => Some(Self::CharDevice(*number)),
            Kind::BlockDevice(number) => Some(Self::BlockDevice(*number)),
            Kind::File { .. } | Kind::Directory { .. } => None,
        }
    }
}

/// What became of a [`Special`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Which inode it is; `None` if it was not made, for the reason in the notes.
    pub id: Option<FileId>,
    /// What was left out.
    pub notes: Vec<Note>,
}

/// A file below the same root that is to get another name.
#[derive(Debug, Clone, Copy)]
pub struct LinkSource<'a> {
    /// Its directory.
    pub dir: &'a TargetDir,
    /// Its name there.
    pub name: &'a Name,
    /// Which file it must be, as [`TempFile::id`](super::temp::TempFile::id) or [`Placed`] said.
    pub id: FileId,
}

impl TargetDir {
    /// Makes a link, pipe or device with its metadata, in place of what has the name if the policy
    /// says so. A directory of that name is never replaced.
    pub fn place(
        &self,
        name: &Name,
        special: Special<'_>,
        meta: &Meta,
        policy: &Policy,
    ) -> Result<Placed, TargetError> {
        if let Some(note) = special.left_out(policy) {
            return Ok(Placed { id: None, notes: vec![note] });
        }
        let made = TempName::make(self, "create", name, |temp| special.make(self, temp));
        if let Err(TargetError::Io { source, .. }) = &made
            && let Some(note) = special.refusal(*source)
        {
            return Ok(Placed { id: None, notes: vec![note] });
        }
        let (temp, ()) = made?;
        let (pin, stat) = self.pin(&temp.name, (special, false), name)?;
        let subject = Subject {
            handle: Handle::Pinned(Pin { fd: pin.as_fd(), name: temp.name.as_os_str() }),
            is_link: matches!(special, Special::Symlink(_)),
            inherits_acl: self.inherits_acl(),
            now: None,
            owner: None,
        };
        let notes = apply(subject, meta, policy).map_err(|refused| refused.of(Some(name)))?;
        temp.place(name, policy.overwrite)?;
        Ok(Placed { id: Some(FileId::from(&stat)), notes })
    }

    /// If what has the name is what [`Self::place`] would make, made at the same time, it stays and
    /// gets the metadata again unless `dry`. `shared`: it may have further names.
    pub fn keep(
        &self,
        name: &Name,
        (special, shared): (Special<'_>, bool),
        meta: &Meta,
        (policy, dry): (&Policy, bool),
    ) -> Option<Placed> {
        if special.left_out(policy).is_some() {
            return None;
        }
        let (pin, stat) = self.pin(name, (special, shared), name).ok()?;
        let leads_there = match special {
            Special::Symlink(target) => self.link_text(&pin, name)?.as_slice() == target,
            _ => true,
        };
        if !leads_there || stat.mtime != meta.mtime {
            return None;
        }
        let id = Some(FileId::from(&stat));
        if dry {
            return Some(Placed { id, notes: Vec::new() });
        }
        let handle = Handle::Pinned(Pin { fd: pin.as_fd(), name: name.as_os_str() });
        let subject = Subject {
            handle,
            is_link: matches!(special, Special::Symlink(_)),
            // It may have got one since, and loses it as a new one would not have it.
            inherits_acl: true,
            now: handle.now(),
            owner: None,
        };
        let notes = apply(subject, meta, policy).ok()?;
        Some(Placed { id, notes })
    }

    /// Where a link that is held leads to.
    fn link_text(&self, pin: &OwnedFd, name: &Name) -> Option<Vec<u8>> {
        let read = if cfg!(target_os = "linux") {
            rustix::fs::readlinkat(pin, c"", Vec::new())
        } else {
            rustix::fs::readlinkat(self.fd(), name.as_os_str(), Vec::new())
        };
        read.ok().map(CString::into_bytes)
    }

    /// Gives a restored file the further name `name` in this directory.
    ///
    /// If another file has the source's name by now, [`TargetError::Raced`]; only one that was made
    /// since and got the removed file's inode number goes unnoticed. The system may refuse (too
    /// many names, not the same file system): the caller may write a copy then.
    pub fn hard_link(
        &self,
        name: &Name,
        source: &LinkSource<'_>,
        policy: &Policy,
    ) -> Result<(), TargetError> {
        let link = |temp: &Name| {
            let (from, to) = (source.name.as_os_str(), temp.as_os_str());
            // No flag: a symbolic link gets another name itself, wherever it leads.
            rustix::fs::linkat(source.dir.fd(), from, self.fd(), to, AtFlags::empty())
        };
        let (temp, ()) = TempName::make(self, "link", name, link)?;
        let stat = stat_at(self.fd(), &temp.name)
            .map_err(|error| TargetError::io("look at", Some(name), &error))?;
        if FileId::from(&stat) != source.id {
            return Err(TargetError::Raced { name: source.name.clone() });
        }
        temp.place_link(name, policy.overwrite)
    }

    /// Holds what was just made, having checked that it is that and, unless it is `shared`, that
    /// nobody else has a name for it: metadata must not land on a file that someone moved there.
    fn pin(
        &self,
        temp: &Name,
        (special, shared): (Special<'_>, bool),
        name: &Name,
    ) -> Result<(OwnedFd, Stat), TargetError> {
        let failed = |error| TargetError::of("open", Some(name), error);
        #[cfg(target_os = "linux")]
        let (pin, stat) = {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let pin = rustix::fs::openat(self.fd(), temp.as_os_str(), flags, Mode::empty())
                .map_err(failed)?;
            let stat = crate::scan::os::fstat(&pin);
            (pin, stat)
        };
        #[cfg(not(target_os = "linux"))]
        let (pin, stat) = {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let pin = rustix::fs::openat(self.fd(), c".", flags, Mode::empty()).map_err(failed)?;
            (pin, stat_at(self.fd(), temp))
        };
        let stat = stat.map_err(|error| TargetError::io("look at", Some(name), &error))?;
        if special.describes(&stat) && (shared || stat.nlink == 1) {
            Ok((pin, stat))
        } else {
            Err(TargetError::Raced { name: name.clone() })
        }
    }
}

impl Special<'_> {
    pub(super) fn left_out(self, policy: &Policy) -> Option<Note> {
        match self {
            Self::Socket => Some(Note::Skipped(Aspect::Socket)),
            Self::CharDevice(_) | Self::BlockDevice(_) if !policy.privileged => {
                Some(Note::Skipped(Aspect::Device))
            }
            _ => None,
        }
    }

    /// What to note when the system refuses to make it with this error; `None` if that is an error.
    ///
    /// Devices need rights that even root may lack in a container, and some file systems have no
    /// pipes: neither should end a restore.
    fn refusal(self, error: Errno) -> Option<Note> {
        let aspect = match self {
            Self::Symlink(_) => return None,
            Self::Fifo => Aspect::Fifo,
            Self::Socket => Aspect::Socket,
            Self::CharDevice(_) | Self::BlockDevice(_) => Aspect::Device,
        };
        let refused = matches!(error, Errno::PERM | Errno::NOTSUP | Errno::NOSYS | Errno::INVAL);
        refused.then(|| Note::refused(aspect, error))
    }

    fn make(self, dir: &TargetDir, temp: &Name) -> Result<(), Errno> {
        match self {
            Self::Symlink(target) => rustix::fs::symlinkat(target, dir.fd(), temp.as_os_str()),
            Self::Fifo => node(dir, temp, rustix::fs::FileType::Fifo, 0),
            Self::Socket => Err(Errno::NOTSUP),
            Self::CharDevice(number) => {
                node(dir, temp, rustix::fs::FileType::CharacterDevice, device(number))
            }
            Self::BlockDevice(number) => {
                node(dir, temp, rustix::fs::FileType::BlockDevice, device(number))
            }
        }
    }

    fn describes(self, stat: &Stat) -> bool {
        match self {
            Self::Symlink(_) => stat.file_type == FileType::Symlink,
            Self::Fifo => stat.file_type == FileType::Fifo,
            Self::Socket => false,
            Self::CharDevice(number) => {
                stat.file_type == FileType::CharDevice && stat.rdev == number
            }
            Self::BlockDevice(number) => {
                stat.file_type == FileType::BlockDevice && stat.rdev == number
            }
        }
    }
}

fn device(number: DeviceNumber) -> rustix::fs::Dev {
    rustix::fs::makedev(number.major, number.minor)
}

#[cfg(not(target_vendor = "apple"))]
fn node(
    dir: &TargetDir,
    temp: &Name,
    kind: rustix::fs::FileType,
    device: rustix::fs::Dev,
) -> Result<(), Errno> {
    rustix::fs::mknodat(dir.fd(), temp.as_os_str(), kind, Mode::RUSR | Mode::WUSR, device)
}

#[cfg(target_vendor = "apple")]
fn node(
    _dir: &TargetDir,
    _temp: &Name,
    _kind: rustix::fs::FileType,
    _device: rustix::fs::Dev,
) -> Result<(), Errno> {
    Err(Errno::NOTSUP)
}

#[cfg(test)]
mod tests;
