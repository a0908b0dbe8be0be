//! Errors of the command line, and their exit codes.

use std::io;
use std::path::PathBuf;

use unseen_common::vault::VaultError;
use unseen_common::wire::address::AddressError;

use crate::http::ServeError;
use crate::http::tls::TlsError;
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
    #[error("the running server answered: {0}")]
    Running(String),
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
            Self::Open(OpenError::Busy(_)) => 11,
            Self::Damage | Self::Open(OpenError::Journal(_) | OpenError::Identity(_)) => 20,
            Self::Vault(VaultError::DiskFull) => 23,
            _ => 1,
        }
    }
}
