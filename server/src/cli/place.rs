//! Where clients find the server and which key they pin: needed to write an invite. `serve` keeps
//! it in the data folder, so that invites can be made while the server does not run.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use unseen_common::id::Hash;
use unseen_common::log::entry::PublicKey;
use unseen_common::wire::address::{Pin, ServerAddress, Target, authority, split_authority};

use super::error::CliError;
use crate::store::durable;

/// What an invite says besides its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// `host:port` as clients reach it.
    pub(super) address: String,
    /// The TLS key; not known behind a proxy whose certificate was not given.
    pub(super) spki: Option<Hash>,
}

impl Place {
    /// What `serve` kept, if it ran.
    pub(super) fn read(data: &Path) -> Result<Option<Self>, CliError> {
        let path = path(data);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| CliError::Io { path, source: error.into() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CliError::Io { path, source }),
        }
    }

    /// Keeps it.
    pub(super) fn write(&self, data: &Path) -> Result<(), CliError> {
        let path = path(data);
        let text = serde_json::to_vec(self)
            .map_err(|error| CliError::Io { path: path.clone(), source: error.into() })?;
        durable::write(&path, &[&text]).map_err(|source| CliError::Io { path, source })
    }

    /// The line that makes an account.
    pub(super) fn invitation(
        &self,
        identity: PublicKey,
        secret: &[u8],
    ) -> Result<String, CliError> {
        let spki = self.spki.ok_or(CliError::NoPin)?;
        let (host, port) = split_authority(&self.address)
            .map_err(|source| CliError::Address { text: self.address.clone(), source })?;
        let address = ServerAddress {
            host,
            port,
            target: Target::Invite(secret.to_vec()),
            pin: Pin { spki, identity },
        };
        Ok(format!("backup init '{address}'"))
    }
}

/// Where clients reach a server that listens on `listen`: as told, else there, else by the name
/// of this machine.
pub(super) fn public_address(told: Option<&str>, listen: SocketAddr) -> Result<String, CliError> {
    if let Some(text) = told {
        let (host, port) = split_authority(text)
            .map_err(|source| CliError::Address { text: text.to_owned(), source })?;
        return Ok(authority(&host, port));
    }
    if listen.ip().is_unspecified() {
        let name = rustix::system::uname();
        let name = name.nodename().to_string_lossy().into_owned();
        return Ok(authority(&name, listen.port()));
    }
    Ok(authority(&listen.ip().to_string(), listen.port()))
}

/// A fingerprint as people compare it.
pub(super) fn fingerprint(key: &[u8; 32]) -> String {
    BASE64URL_NOPAD.encode(key)
}

fn path(data: &Path) -> PathBuf {
    data.join("serve.json")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Under which names the inventory declares what is stored here.
    pub(crate) fn stored() -> Vec<&'static str> {
        const _: fn(Place) = |Place { address: _, spki: _ }| {};
        vec!["server.address", "server.spki"]
    }
    use unseen_common::wire::address::SCHEME;

    #[test]
    fn addresses() {
        let listen = |text: &str| text.parse::<SocketAddr>().unwrap();
        let of = |told, text| public_address(told, listen(text)).unwrap();
        assert_eq!(of(None, "127.0.0.1:80"), "127.0.0.1:80");
        assert_eq!(of(None, "[::1]:80"), "[::1]:80");
        assert_eq!(of(Some("NAS.home:1"), "0.0.0.0:80"), "nas.home:1");
        assert!(of(None, "0.0.0.0:80").ends_with(":80"));
        assert!(public_address(Some("nas"), listen("0.0.0.0:80")).is_err());
    }

    #[test]
    fn invitations_can_be_pasted() {
        let place =
            Place { address: "nas.home:8443".into(), spki: Some(Hash::from_bytes([1; 32])) };
        let line = place.invitation([2; 32], &[3; 18]).unwrap();
        let quoted = line.strip_prefix("backup init '").unwrap();
        let address: ServerAddress = quoted.strip_suffix('\'').unwrap().parse().unwrap();
        assert!(quoted.starts_with(SCHEME));
        assert_eq!(address.target, Target::Invite(vec![3; 18]));
        let unpinned = Place { spki: None, ..place };
        assert!(matches!(unpinned.invitation([2; 32], &[3; 18]), Err(CliError::NoPin)));
    }
}
