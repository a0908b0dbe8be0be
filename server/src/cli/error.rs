//! Errors of the command line, and their exit codes.

use std::io;
use std::path::PathBuf;

use unseen_common::codec::DecodeError;
use unseen_common::vault::VaultError;
use unseen_common::wire::address::AddressError;

use super::config::ConfigError;
use super::units::plural;
use crate::http::tls::TlsError;
use crate::http::{Listen, ServeError};
use crate::vault::OpenError;
use crate::vault::copy::CopyError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The data folder cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Serving ended.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// No certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The core refused.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The public address makes no sense.
    #[error("--public-address {text}")]
    Address {
        /// As given.
        text: String,
        /// Why.
        #[source]
        source: AddressError,
    },
    /// Nobody knows where the server can be reached.
    #[error("the server's address is not known: run `serve` first, or give --public-address")]
    NoAddress,
    /// The key that clients are to pin is not known.
    #[error(
        "behind a proxy, clients pin the proxy's key: give `serve` its certificate by --tls-cert"
    )]
    NoPin,
    /// The running server answered with an error.
    #[error("{text}")]
    Running {
        /// What it said, with its causes.
        text: String,
        /// The exit code that it has for this.
        code: u8,
    },
    /// The settings are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// `config check` found something.
    #[error("the server could not start with this (problems found: {0})")]
    Problems(usize),
    /// There is nothing to ask.
    #[error(
        "metrics-listen is off, so there is no health to ask for; set it, here and for `serve`"
    )]
    NoMetrics,
    /// Nobody answers.
    #[error("no server answers at {place}")]
    Silent {
        /// Where.
        place: Listen,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server says that it is not ready.
    #[error("not ready: {0}")]
    NotReady(String),
    /// Clients pinned another key.
    #[error(
        "{path} has another key than the one that clients pinned (pinned {pinned}, found {found}); \
         put the old certificate and key back, or give --tls-allow-new-key: every client that is \
         enrolled then stops until it is told the new address"
    )]
    NewKey {
        /// The certificate.
        path: PathBuf,
        /// Fingerprint that clients have.
        pinned: String,
        /// Fingerprint of this certificate's key.
        found: String,
    },
    /// The key that clients pinned is gone.
    #[error(
        "{folder} is gone, and clients pinned the key in it; put it back from the backup of the \
         server, or give --tls-allow-new-key to make a new one: every client that is enrolled \
         then stops until it is told the new address"
    )]
    KeyLost {
        /// Where it was.
        folder: PathBuf,
    },
    /// Something that cannot be taken back was not confirmed.
    #[error("account {0} was not erased: it was not confirmed (type its name, or give --yes)")]
    Unconfirmed(String),
    /// The result cannot be written or read.
    #[error("the answer cannot be read; is the running server of the same version?")]
    Answer(#[source] serde_json::Error),
    /// Nothing was deleted, because of the time.
    #[error(
        "nothing was deleted: is the clock right? If so (the server may have been off for long), \
         run `backup-server gc --confirm-clock`"
    )]
    ClockJumped,
    /// Something went wrong in some accounts.
    #[error("in {} something went wrong; the server's log says what", plural(*.0, "account", "accounts"))]
    SweepFailed(u64),
    /// Accounts of which nothing can be said.
    #[error("{} could not be looked at", plural(*.0, "account", "accounts"))]
    NotLookedAt(usize),
    /// A receipt cannot be read.
    #[error("the receipt cannot be read")]
    Receipt(#[source] DecodeError),
    /// The copy failed.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The command did its work and found damage, which it has told.
    #[error("there is damage")]
    Damage,
    /// A file or socket.
    #[error("{path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The runtime could not be started.
    #[error("the program could not start")]
    Runtime(#[source] io::Error),
}

impl CliError {
    /// As restic has them, plus ours.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Running { code, .. } => *code,
            Self::Open(OpenError::Busy(_)) | Self::Copy(CopyError::Busy(_)) => 11,
            Self::Damage
            | Self::Vault(VaultError::Damaged { .. })
            | Self::Open(
                OpenError::Journal(_)
                | OpenError::NoJournal(_)
                | OpenError::Identity(_)
                | OpenError::IdentityLost(_)
                | OpenError::Format(_),
            ) => 20,
            Self::Vault(VaultError::DiskFull) => 23,
            Self::Copy(error) if error.is_full() => 23,
            Self::Config(ConfigError::Read { .. }) => 1,
            Self::Config(_)
            | Self::Address { .. }
            | Self::Open(OpenError::Foreign { .. })
            | Self::Vault(VaultError::Invalid(_)) => 2,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use unseen_common::id::VaultId;

    use super::*;
    use crate::vault::load::LoadError;

    #[test]
    fn a_copy_fails_as_the_rest_of_the_program_does() {
        let path = PathBuf::from("copy");
        let id = VaultId::from_bytes([7; 16]);
        let io = |kind: io::ErrorKind| CopyError::Io { path: path.clone(), source: kind.into() };
        let journal = |kind| CopyError::Journal { id, source: LoadError::Blobs(kind) };
        for (error, code) in [
            (CopyError::Busy(path.clone()), 11),
            (io(io::ErrorKind::StorageFull), 23),
            (io(io::ErrorKind::QuotaExceeded), 23),
            (journal(io::ErrorKind::StorageFull.into()), 23),
            (CopyError::Account { id, source: VaultError::DiskFull }, 23),
            (io(io::ErrorKind::PermissionDenied), 1),
            (CopyError::NotEmpty(path.clone()), 1),
        ] {
            let words = error.to_string();
            assert_eq!(CliError::from(error).exit_code(), code, "{words}");
        }
    }

    #[test]
    fn wrong_settings_are_wrong_usage() {
        let path = PathBuf::from("server.toml");
        let unknown = ConfigError::Unknown { path: path.clone(), line: 3, key: "lisen".to_owned() };
        let syntax = ConfigError::Syntax { path: path.clone(), line: 1, why: String::new() };
        for error in [unknown, syntax, ConfigError::NoData, ConfigError::Together("")] {
            assert_eq!(CliError::from(error).exit_code(), 2);
        }
        let source = io::ErrorKind::PermissionDenied.into();
        assert_eq!(CliError::from(ConfigError::Read { path, source }).exit_code(), 1);
        let told = CliError::NotLookedAt(1).to_string();
        assert_eq!(told, "1 account could not be looked at");
    }
}
