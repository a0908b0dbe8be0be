//! Where a vault is, in one line.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

pub use unseen_common::wire::address::{AddressError, Pin, ServerAddress, Target};

/// What the address of a folder starts with.
const FILE: &str = "file://";

/// Where a vault is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// On a server: `unseen://host:port/ACCOUNT?pin=…`, or an invite to one.
    Server(ServerAddress),
    /// In a folder of this machine: `file:///path`.
    Folder(PathBuf),
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Of a server.
    #[error(transparent)]
    Server(#[from] AddressError),
    /// Of a folder.
    #[error("file:// needs a whole path, as in file:///srv/backup")]
    NotAbsolute,
    /// Of neither kind.
    #[error("an address begins with unseen:// or file://")]
    Scheme,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(address) => address.fmt(f),
            Self::Folder(path) => write!(f, "{FILE}{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if let Some(path) = text.strip_prefix(FILE) {
            return if path.starts_with('/') {
                Ok(Self::Folder(path.into()))
            } else {
                Err(ParseError::NotAbsolute)
            };
        }
        if text.starts_with(unseen_common::wire::address::SCHEME) {
            return Ok(Self::Server(text.parse()?));
        }
        Err(ParseError::Scheme)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_refusals() {
        for text in ["file:///srv/backup", "file:///a b/?pin=x"] {
            let address: Address = text.parse().unwrap();
            assert!(matches!(address, Address::Folder(_)));
            assert_eq!(address.to_string(), text);
        }
        assert_eq!("file://srv".parse::<Address>(), Err(ParseError::NotAbsolute));
        assert_eq!("https://x".parse::<Address>(), Err(ParseError::Scheme));
        assert!(matches!("unseen://x".parse::<Address>(), Err(ParseError::Server(_))));
        let text = format!("unseen://nas:1/{}?pin={}", "0a".repeat(16), "A".repeat(86));
        let address: Address = text.parse().unwrap();
        assert_eq!(address.to_string(), text);
    }
}
