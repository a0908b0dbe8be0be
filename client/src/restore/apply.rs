//! Setting recorded metadata on what was just written.
//!
//! The order matters. Changing the owner clears setuid and capabilities, so it comes first. `user.`
//! attributes need write permission, so they come before the recorded mode may take it away. An
//! ACL moves the group bits of the mode, so those are settled after it. Capabilities follow, and
//! the times come last because everything else may touch them.

use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::error::TargetError;
use super::handle::Handle;
use super::policy::{Aspect, Note, Ownership, Policy};
use super::root::TargetDir;
use crate::scan::os::running_as_root;
use crate::tree::entry::{Meta, Xattr};

/// Sets the recorded metadata on a directory in which everything is in place.
///
/// Also removes attributes (`user.` and ACLs) that it has and that are not recorded.
pub fn apply_dir_meta(
    dir: &TargetDir,
    meta: &Meta,
    policy: &Policy,
) -> Result<Vec<Note>, TargetError> {
    let handle = Handle::Open(dir.fd());
    let now = handle.now();
    let subject = Subject { handle, is_link: false, inherits_acl: false, now, owner: None };
    apply(subject, meta, policy).map_err(|error| error.of(None))
}

/// What metadata is set on.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    pub(super) handle: Handle<'a>,
    /// Symbolic links have neither permissions nor ACLs.
    pub(super) is_link: bool,
    /// It was made in a directory with a default ACL and may have got an ACL from it.
    pub(super) inherits_acl: bool,
    /// What it has already, if it was there before and its content is what the snapshot has. What
    /// is right is left alone, so that the next backup sees no change; what is strange goes.
    pub(super) now: Option<Meta>,
    /// User and group that it has, where they are known though the rest is not.
    pub(super) owner: Option<(u32, u32)>,
}

/// The owner could not be set, and the policy demands it.
#[derive(Debug)]
pub(super) struct OwnerRefused {
    uid: u32,
    gid: u32,
    source: Errno,
}

impl OwnerRefused {
    pub(super) fn of(self, name: Option<&crate::tree::entry::Name>) -> TargetError {
        let Self { uid, gid, source } = self;
        TargetError::Owner { name: name.cloned(), uid, gid, source }
    }
}

/// Sets everything. Only a refused owner can fail, and only if the policy says so.
pub(super) fn apply(
    subject: Subject<'_>,
    meta: &Meta,
    policy: &Policy,
) -> Result<Vec<Note>, OwnerRefused> {
    let Subject { handle, is_link, inherits_acl, now, owner } = subject;
    let mode = now.as_ref().map(|now| now.mode);
    let owner = now.as_ref().map(|now| (now.uid, now.gid)).or(owner);
    let mut work = Work { handle, inherits_acl, now, mode, meta, policy, notes: Vec::new() };
    let owned = work.owner(owner)?;
    work.strangers();
    work.xattrs(Class::Harmless);
    if !is_link {
        work.mode_and_acl(owned);
    }
    work.xattrs(Class::Power);
    let timely = work.now.as_ref().is_some_and(|now| now.mtime == meta.mtime);
    if !timely && let Err(error) = handle.set_times(meta.mtime) {
        work.refused(Aspect::Times, error);
    }
    Ok(work.notes)
}

fn recorded<'a>(meta: &'a Meta, name: &[u8]) -> Option<&'a Xattr> {
    meta.xattrs.iter().find(|xattr| xattr.name == name)
}

struct Work<'a> {
    handle: Handle<'a>,
    inherits_acl: bool,
    now: Option<Meta>,
    /// The permission bits as they are, where that is known.
    mode: Option<u32>,
    meta: &'a Meta,
    policy: &'a Policy,
    notes: Vec<Note>,
}

impl Work<'_> {
    /// Sets user and group; answers whether they are now the recorded ones.
    fn owner(&mut self, now: Option<(u32, u32)>) -> Result<bool, OwnerRefused> {
        let Some((uid, gid)) = self.wanted_owner() else {
            let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
            return Ok((self.meta.uid, self.meta.gid) == (user.as_raw(), group.as_raw()));
        };
        if now == Some((uid, gid)) {
            return Ok(true);
        }
        let handle = self.handle;
        let done = match (user(uid), group(gid)) {
            (Some(user), Some(group)) => handle.chown(Some(user), Some(group)),
            _ => Err(Errno::INVAL),
        };
        self.lost_power();
        match done {
            Ok(()) => Ok(true),
            Err(source) if self.policy.strict_owner => Err(OwnerRefused { uid, gid, source }),
            Err(error) => {
                // Anyone may at least give a file to a group of theirs.
                let grouped = group(gid).is_some_and(|id| handle.chown(None, Some(id)).is_ok());
                let mine = uid == rustix::process::geteuid().as_raw();
                if !(grouped && mine) {
                    self.refused(Aspect::Owner, error);
                }
                Ok(grouped && mine)
            }
        }
    }

    /// Changing the owner takes setuid and capabilities away.
    fn lost_power(&mut self) {
        self.mode = None;
        if let Some(now) = &mut self.now {
            now.mode &= !SPECIAL;
            now.xattrs.retain(|xattr| xattr.name != CAPABILITY);
        }
    }

    fn wanted_owner(&self) -> Option<(u32, u32)> {
        let meta = self.meta;
        match &self.policy.ownership {
            Ownership::CurrentUser => None,
            Ownership::Numeric => Some((meta.uid, meta.gid)),
            Ownership::ByName(names) => {
                let user = meta.user.as_deref().and_then(|name| names.uid(name));
                let group = meta.group.as_deref().and_then(|name| names.gid(name));
                Some((user.unwrap_or(meta.uid), group.unwrap_or(meta.gid)))
            }
        }
    }

    fn xattrs(&mut self, class: Class) {
        let meta = self.meta;
        for xattr in meta.xattrs.iter().filter(|xattr| Class::of(&xattr.name) == class) {
            if self.has(xattr) {
                continue;
            }
            if class == Class::Power && !self.policy.privileged {
                self.notes.push(Note::Skipped(Aspect::Xattr(xattr.name.clone())));
            } else {
                self.set(xattr);
            }
        }
    }

    /// Removes what it has and what is not recorded, and may be removed.
    fn strangers(&mut self) {
        let Some(now) = &self.now else {
            return;
        };
        let strange = now.xattrs.iter().filter(|found| self.is_strange(found));
        let strange: Vec<_> = strange.map(|found| found.name.clone()).collect();
        for name in strange {
            if name == ACL_ACCESS {
                // Without it the mask would become what the group may do.
                self.chmod(self.meta.mode & 0o707);
                self.mode = None;
            } else if Class::of(&name) == Class::Harmless {
                self.let_write();
            }
            if let Err(error) = self.handle.remove_xattr(&name) {
                self.refused(Aspect::Xattr(name), error);
            }
        }
    }

    fn is_strange(&self, found: &Xattr) -> bool {
        let kept = recorded(self.meta, &found.name);
        match Class::of(&found.name) {
            Class::Harmless => kept.is_none() && found.name.starts_with(b"user."),
            Class::Acl => kept.is_none(),
            // Another one than the recorded one must not stay, even if that may not be set.
            Class::Power if found.name == CAPABILITY => {
                kept.is_none_or(|kept| kept.value != found.value && !self.policy.privileged)
            }
            Class::Power => {
                kept.is_none() && self.policy.privileged && found.name.starts_with(b"trusted.")
            }
        }
    }

    /// `owned`: whether a setuid bit would speak for the recorded owner and not for another one.
    fn mode_and_acl(&mut self, owned: bool) {
        let meta = self.meta;
        let mut mode = meta.mode & 0o7777;
        let allowed = (self.policy.privileged && owned) || self.has_special();
        if mode & SPECIAL != 0 && !allowed {
            mode &= !SPECIAL;
            self.notes.push(Note::Skipped(Aspect::SpecialBits));
        }
        if self.inherits_acl
            && self.now.is_none()
            && recorded(meta, ACL_ACCESS).is_none()
            && let Err(error) = self.handle.remove_xattr(ACL_ACCESS)
        {
            self.refused(Aspect::Xattr(ACL_ACCESS.to_vec()), error);
        }
        if let Some(acl) = recorded(meta, ACL_ACCESS).filter(|acl| !self.has(acl)) {
            // With an ACL the group bits are its mask. Without it they would be the group's own
            // rights, so they are withheld until the ACL is there.
            self.chmod(mode & !0o077);
            if !self.set(acl) {
                mode = mode & !0o070 | group_rights(&acl.value) & mode & 0o070;
            }
            self.mode = None;
        }
        if let Some(acl) = recorded(meta, ACL_DEFAULT).filter(|acl| !self.has(acl)) {
            self.set(acl);
        }
        self.chmod(mode);
        let delicate = mode & SPECIAL != 0 || recorded(meta, ACL_ACCESS).is_some();
        if delicate && self.handle.mode() != Ok(mode) {
            self.notes.push(Note::Differs(Aspect::Mode));
        }
    }

    /// It is setuid or setgid already, as recorded and for the same owner: nothing is granted.
    fn has_special(&self) -> bool {
        let meta = self.meta;
        self.now.as_ref().is_some_and(|now| {
            now.mode & SPECIAL == meta.mode & SPECIAL && (now.uid, now.gid) == (meta.uid, meta.gid)
        })
    }

    fn has(&self, xattr: &Xattr) -> bool {
        self.now.as_ref().is_some_and(|now| now.xattrs.contains(xattr))
    }

    fn chmod(&mut self, mode: u32) {
        if self.mode == Some(mode) {
            return;
        }
        match self.handle.chmod(mode) {
            Ok(()) => self.mode = Some(mode),
            Err(error) => self.refused(Aspect::Mode, error),
        }
    }

    /// Attributes under `user.` are for who may write to the file.
    fn let_write(&mut self) {
        if let Some(mode) = self.mode
            && mode & 0o200 == 0
            && !running_as_root()
        {
            self.chmod(mode | 0o200);
        }
    }

    fn set(&mut self, xattr: &Xattr) -> bool {
        if Class::of(&xattr.name) == Class::Harmless {
            self.let_write();
        }
        let done = self.handle.set_xattr(&xattr.name, &xattr.value);
        if let Err(error) = done {
            self.refused(Aspect::Xattr(xattr.name.clone()), error);
        }
        done.is_ok()
    }

    fn refused(&mut self, aspect: Aspect, error: Errno) {
        self.notes.push(Note::refused(aspect, error));
    }
}

/// What a dry run can tell of what [`apply`] would leave out.
pub(super) fn foreseen(meta: &Meta, policy: &Policy) -> Vec<Note> {
    if policy.privileged {
        return Vec::new();
    }
    let special = (meta.mode & SPECIAL != 0).then_some(Aspect::SpecialBits);
    let power = meta.xattrs.iter().filter(|xattr| Class::of(&xattr.name) == Class::Power);
    let power = power.map(|xattr| Aspect::Xattr(xattr.name.clone()));
    special.into_iter().chain(power).map(Note::Skipped).collect()
}

/// What an attribute can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Nothing by itself.
    Harmless,
    /// A POSIX ACL: grants rights to the file, as the mode does.
    Acl,
    /// More than that: capabilities, labels, whatever a file system has under `system.`, such as
    /// whole security descriptors with an owner in them.
    Power,
}

impl Class {
    fn of(name: &[u8]) -> Self {
        let power: [&[u8]; 3] = [b"security.", b"trusted.", b"system."];
        if name == ACL_ACCESS || name == ACL_DEFAULT {
            Self::Acl
        } else if power.iter().any(|prefix| name.starts_with(prefix)) {
            Self::Power
        } else {
            Self::Harmless
        }
    }
}

/// What the owning group may do by the ACL alone, as the group bits of a mode; none if the ACL
/// makes no sense. For file systems that keep no ACL: the mode's group bits are its mask, and may
/// be wider.
fn group_rights(acl: &[u8]) -> u32 {
    let entries = match acl.split_first_chunk::<4>() {
        Some((&ACL_VERSION, entries)) if entries.len() % 8 == 0 => entries,
        _ => return 0,
    };
    let of_group = entries.chunks_exact(8).find_map(|entry| match *entry {
        [tag_low, 0, rights, 0, ..] if tag_low == ACL_GROUP_OBJ => Some(u32::from(rights & 7)),
        _ => None,
    });
    of_group.unwrap_or(0) << 3
}

/// -1 means "leave it" to the system and is nobody's number.
fn user(uid: u32) -> Option<Uid> {
    (uid != u32::MAX).then(|| Uid::from_raw(uid))
}

fn group(gid: u32) -> Option<Gid> {
    (gid != u32::MAX).then(|| Gid::from_raw(gid))
}

/// The attribute that holds a POSIX ACL.
pub(super) const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
/// The attribute that holds the ACL which new entries of a directory get.
pub(super) const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";
/// The attribute that holds the capabilities of a program.
pub(super) const CAPABILITY: &[u8] = b"security.capability";
const ACL_VERSION: [u8; 4] = [2, 0, 0, 0];
const ACL_GROUP_OBJ: u8 = 4;
const SPECIAL: u32 = 0o6000;

#[cfg(test)]
mod power_tests;
#[cfg(test)]
mod tests;
