//! Errors of the command line, and their exit codes.

use std::io;
use std::path::PathBuf;

use unseen_common::codec::DecodeError;
use unseen_common::vault::VaultError;
use unseen_common::wire::address::AddressError;

use crate::http::ServeError;
use crate::http::tls::TlsError;
use crate::vault::OpenError;

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
    #[error("the running server answered: {0}")]
    Running(String),
    /// No data folder was named.
    #[error("which data folder? Give --data DIR or set UNSEEN_DATA")]
    NoData,
    /// There is no data folder there.
    #[error("there is no data folder in {0}; `serve` makes one")]
    NoFolder(PathBuf),
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
    #[error("in {0} accounts something went wrong; the server's log says what")]
    SweepFailed(u64),
    /// A receipt cannot be read.
    #[error("the receipt cannot be read")]
    Receipt(#[source] DecodeError),
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
            Self::Open(OpenError::Busy(_)) => 11,
            Self::Open(OpenError::Journal(_) | OpenError::Identity(_)) => 20,
            Self::NoData | Self::Vault(VaultError::Invalid(_)) => 2,
            Self::Vault(VaultError::DiskFull) => 23,
            _ => 1,
        }
    }
}
