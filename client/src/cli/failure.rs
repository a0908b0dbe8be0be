//! Engine errors as people see them: a line, a hint, an exit code.

use std::error::Error;
use std::io;

use unseen_common::vault::VaultError;

use super::exit::{CliError, Exit};
use crate::backup::BackupError;
use crate::browse::dump::DumpError;
use crate::browse::error::ReadError;
use crate::browse::ls::FindError;
use crate::crypto::device_file::DeviceKeyError;
use crate::crypto::recovery::RecoveryCodeError;
use crate::crypto::slot::SlotError;
use crate::enrol::EnrolError;
use crate::enrol::kit::KitError;
use crate::maintain::CheckError;
use crate::pins::PinError;
use crate::repo::RepoError;
use crate::repo::unlock::UnlockError;
use crate::restore::RestoreError;
use crate::state::db::StateError;

impl From<VaultError> for CliError {
    fn from(error: VaultError) -> Self {
        if let VaultError::Damaged { next, .. } = &error {
            let next = next.clone();
            let failure = Self::from_error(Exit::Damaged, error);
            return if next.is_empty() { failure } else { failure.hint(next) };
        }
        let (code, hint) = vault_advice(&error);
        let failure = Self::from_error(code, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

fn vault_advice(error: &VaultError) -> (Exit, Option<&'static str>) {
    match error {
        VaultError::Unreachable(_) => {
            (Exit::Unreachable, Some("is the server running, and this machine online?"))
        }
        VaultError::WrongServer(_) => (
            Exit::ServerKey,
            Some(
                "nothing was sent. Ask whoever runs the server. If its TLS key was changed on \
                 purpose, take the new address: `backup connect --moved ADDRESS`; an identity key \
                 is never changed. If nothing was changed, somebody may stand between you and the \
                 server",
            ),
        ),
        VaultError::Forbidden(_) | VaultError::Unauthorized => (
            Exit::Refused,
            Some(
                "was this device revoked? `backup connect` enrols it again. Was the account \
                 erased? `backup privacy receipt` tells",
            ),
        ),
        VaultError::Suspended(_) => {
            (Exit::Refused, Some("ask whoever runs the server; restores work all the same"))
        }
        VaultError::Quota(_) => (
            Exit::Full,
            Some(
                "ask for more quota, or `backup forget` old snapshots, whose space comes back when \
                 their grace is over; what was sent is kept, and the next run goes on from there",
            ),
        ),
        VaultError::DiskFull => (
            Exit::Full,
            Some("free space where the vault is, then run again; what was sent is kept"),
        ),
        VaultError::ServerFull => (
            Exit::Full,
            Some(
                "ask whoever runs the server to make room, then run again; what was sent is kept, \
                 and restores work all the same",
            ),
        ),
        VaultError::NotFound(_) => (Exit::NoVault, None),
        VaultError::Busy(_) => (Exit::Busy, Some("try again in a minute")),
        _ => (Exit::Failed, None),
    }
}

impl From<RepoError> for CliError {
    fn from(error: RepoError) -> Self {
        match error {
            RepoError::Vault(error) => error.into(),
            RepoError::State(error) => error.into(),
            error @ RepoError::RolledBack { .. } => Self::from_error(Exit::History, error).hint(
                "nothing was sent. Was the server restored from an older copy? Its operator can \
                 tell. Otherwise it is hiding or replacing your snapshots",
            ),
            error @ (RepoError::OtherOwner | RepoError::Log(_)) => {
                Self::from_error(Exit::History, error)
                    .hint("nothing was sent. This is not the vault that this device belongs to")
            }
            RepoError::Cloned { device, .. } => {
                let device = device.short();
                Self::from_error(Exit::History, error).hint(format!(
                    "nothing was sent. A copy of this machine's key is in use elsewhere, or this \
                     machine was set back to an older state. `backup connect --replaces {device}` \
                     gives it a new key, and revokes the old one and every copy of it"
                ))
            }
            error @ RepoError::Pin(PinError::Damaged { .. }) => {
                Self::from_error(Exit::Failed, error).hint(
                    "nothing was sent. It proves that the server has not been set back, so it is \
                     never replaced by itself. Move the file away, if its disk is to blame: what \
                     the server shows next is then taken as it is, and remembered anew",
                )
            }
            RepoError::Clocks(error) => {
                Self::from_error(Exit::Failed, error).hint(error.0.advice())
            }
            error @ RepoError::Revoked(_) => Self::from_error(Exit::Refused, error)
                .hint("`backup connect` enrols this machine again"),
            error @ RepoError::Footer { .. } => Self::from_error(Exit::Damaged, error)
                .hint("`backup check --read-data` finds what else is damaged"),
            error => here(error),
        }
    }
}

impl From<StateError> for CliError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Busy => Self::from_error(Exit::Busy, error)
                .hint("wait until it is done; a lock is never left behind by a run that ended"),
            error => here(error),
        }
    }
}

impl From<BackupError> for CliError {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Vault(error @ VaultError::Unreachable(_)) => Self::from(error).hint(
                "is the server running, and this machine online? What was sent so far is kept, \
                     and the next run goes on from there",
            ),
            BackupError::Vault(error) => error.into(),
            BackupError::Repo(error) => error.into(),
            BackupError::State(error) => error.into(),
            error @ BackupError::NoPaths => Self::from_error(Exit::Usage, error)
                .hint("name what to back up: `backup run PATH…`"),
            error @ BackupError::Interrupted => Self::from_error(Exit::Interrupted, error)
                .hint("what the vault has taken already need not be sent again"),
            error => here(error),
        }
    }
}

impl From<EnrolError> for CliError {
    fn from(error: EnrolError) -> Self {
        match error {
            EnrolError::Vault(error) => error.into(),
            EnrolError::Repo(error) => error.into(),
            EnrolError::DeviceKey(error) => error.into(),
            EnrolError::Slot(error) => error.into(),
            error @ EnrolError::AlreadyEnrolled(_) => Self::from_error(Exit::Failed, error)
                .hint("use another --profile, or go on with `backup run`"),
            error @ EnrolError::CutOff(_) => Self::from_error(Exit::Failed, error)
                .hint("`backup connect --kit FILE` goes on if that vault was made"),
            error @ EnrolError::NotEnrolled(_) => Self::from_error(Exit::NoVault, error).hint(
                "`backup init` makes a vault, `backup connect ADDRESS` joins one that exists",
            ),
            error @ EnrolError::NoSuchInvite => Self::from_error(Exit::Refused, error)
                .hint("ask whoever runs the server for a new one: `backup-server invite`"),
            error @ EnrolError::Unfit(_) => Self::from_error(Exit::Failed, error).hint(
                "nothing was made. The older of the two needs an upgrade: this program, or the \
                 server, by whoever runs it",
            ),
            error @ EnrolError::OtherSlots => Self::from_error(Exit::History, error)
                .hint("nothing was kept. The server hands out old or foreign slots"),
            error @ EnrolError::WrongSecret => Self::from_error(Exit::WrongSecret, error)
                .hint("compare the code and the address with the recovery kit"),
            error @ (EnrolError::NoSuchDevice(_) | EnrolError::AmbiguousDevice { .. }) => {
                Self::from_error(Exit::Usage, error)
            }
            error => Self::from_error(Exit::Failed, error),
        }
    }
}

impl From<SlotError> for CliError {
    fn from(error: SlotError) -> Self {
        match error {
            SlotError::WrongSecret => Self::from_error(Exit::WrongSecret, error),
            SlotError::Lost => Self::from_error(Exit::Damaged, error).hint(
                "put the folder `slots` of this account back from a copy of the server's data: \
                 without it neither passphrase nor code opens anything",
            ),
            SlotError::Damaged => Self::from_error(Exit::Damaged, error)
                .hint("the recovery code of the kit opens a slot of its own: try that"),
            error => Self::from_error(Exit::Failed, error),
        }
    }
}

impl From<DeviceKeyError> for CliError {
    fn from(error: DeviceKeyError) -> Self {
        match error {
            error @ DeviceKeyError::Damaged => Self::from_error(Exit::Failed, error)
                .hint("move the file device.key away and enrol again: `backup connect ADDRESS --replaces DEVICE`"),
            error => Self::from_error(Exit::Failed, error),
        }
    }
}

impl From<RecoveryCodeError> for CliError {
    fn from(error: RecoveryCodeError) -> Self {
        Self::from_error(Exit::WrongSecret, error)
            .hint("nothing was sent; type the code again as the kit has it")
    }
}

impl From<UnlockError> for CliError {
    fn from(error: UnlockError) -> Self {
        match error {
            error @ UnlockError::WrongSecret { code: true } => {
                Self::from_error(Exit::WrongSecret, error)
                    .hint("it is the code of another vault: compare it with the kit of this one")
            }
            error @ UnlockError::WrongSecret { .. } => Self::from_error(Exit::WrongSecret, error)
                .hint("the recovery code of the kit opens the vault, too"),
            error => Self::from_error(Exit::Damaged, error)
                .hint("the recovery code of the kit opens a slot of its own: try that"),
        }
    }
}

impl From<ReadError> for CliError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Vault(error) => error.into(),
            error @ ReadError::Index(_) => Self::from_error(Exit::Failed, error)
                .hint("delete the cache folder and try again: it is made anew"),
            error => Self::from_error(Exit::Damaged, error)
                .hint("`backup check --read-data` tells what else is damaged"),
        }
    }
}

impl From<FindError> for CliError {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Read(error) => error.into(),
            error => Self::from_error(Exit::Failed, error).hint("`backup ls` lists what there is"),
        }
    }
}

impl From<RestoreError> for CliError {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Read(error) => error.into(),
            RestoreError::Find(error) => error.into(),
            error @ RestoreError::Full { .. } => Self::from_error(Exit::Full, error)
                .hint("free some space; the same command goes on from where it stopped"),
            error @ RestoreError::DeleteNeedsWhole => Self::from_error(Exit::Usage, error)
                .hint("leave --delete out, or choose another one: `backup snapshots` lists them"),
            error @ (RestoreError::DeleteUnread { .. } | RestoreError::DeleteUnknownRules) => {
                Self::from_error(Exit::Usage, error)
                    .hint("leave --delete out, or restore into a new folder")
            }
            error @ RestoreError::Target(_) => Self::from_error(Exit::Failed, error)
                .hint("--target names a folder; it is made if it is not there"),
            error => Self::from_error(Exit::Failed, error),
        }
    }
}

impl From<CheckError> for CliError {
    fn from(error: CheckError) -> Self {
        let CheckError::Read(error) = error;
        error.into()
    }
}

impl From<DumpError> for CliError {
    fn from(error: DumpError) -> Self {
        match error {
            DumpError::Read(error) => error.into(),
            error @ DumpError::Write(_) => Self::from_error(Exit::Failed, error),
        }
    }
}

impl From<KitError> for CliError {
    fn from(error: KitError) -> Self {
        match error {
            error @ KitError::Format { .. } => Self::from_error(Exit::Usage, error),
            error @ KitError::Exists { .. } => {
                Self::from_error(Exit::Failed, error).hint("name another file with --kit")
            }
            error @ KitError::Write { .. } => {
                let code = if is_full(&error) { Exit::Full } else { Exit::Failed };
                Self::from_error(code, error)
                    .hint("name a file with --kit in a folder that has room and that you may write")
            }
            error @ (KitError::Read { .. } | KitError::NotAKit { .. }) => {
                Self::from_error(Exit::Failed, error).hint(
                    "name the file that `backup init --kit` wrote, or give the address on the kit: \
                     `backup connect ADDRESS` asks for the code",
                )
            }
        }
    }
}

/// Trouble on this machine: the vault has nothing to do with it.
fn here(error: impl Error + Send + Sync + 'static) -> CliError {
    if is_full(&error) {
        return CliError::from_error(Exit::Full, error).hint(
            "a disk of this machine is full, not the vault's: free space where the state and cache \
             folders are, then run again; what was sent is kept",
        );
    }
    CliError::from_error(Exit::Failed, error)
}

/// Whether there was no room on a disk, whatever was made of it since.
pub(super) fn is_full(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        let kind = kind.or_else(|| match error.downcast_ref() {
            // It does not say that this is its source.
            Some(sled::Error::Io(source)) => Some(source.kind()),
            _ => None,
        });
        if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        next = error.source();
    }
    false
}
