//! The address of a vault on a server, as people paste it.
//!
//! `unseen://HOST:PORT/ACCOUNT?pin=PIN` or, before there is an account,
//! `unseen://HOST:PORT/INVITE?pin=PIN`. ACCOUNT is 32 hexadecimal digits, INVITE the secret in
//! base64url, PIN base64url of (BLAKE3 of the TLS public key's SPKI || identity key).

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;

use crate::id::{Hash, VaultId};
use crate::log::entry::PublicKey;

/// What an address starts with.
pub const SCHEME: &str = "unseen://";
/// Shortest secret of an invite, in bytes.
pub const MIN_INVITE: usize = 16;
/// Longest secret of an invite, in bytes.
pub const MAX_INVITE: usize = 64;

/// A text that is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(&'static str);

/// Which server it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// BLAKE3 of the DER of its TLS key's `SubjectPublicKeyInfo`.
    pub spki: Hash,
    /// Its identity key.
    pub identity: PublicKey,
}

/// What is asked for at the server.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// An account that exists.
    Account(VaultId),
    /// The secret of an invite that makes one.
    Invite(Vec<u8>),
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(id) => write!(f, "Account({id})"),
            Self::Invite(_) => f.write_str("Invite(..)"),
        }
    }
}

/// The whole address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    /// Name or number of the host, lower case; a v6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Account or invite.
    pub target: Target,
    /// Which server it must be.
    pub pin: Pin,
}

impl ServerAddress {
    /// `host:port`, as it stands in a URL.
    pub fn authority(&self) -> String {
        authority(&self.host, self.port)
    }
}

/// `host:port`, with brackets around a v6 address.
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Host and port of `host:port` or `[v6]:port`; the host in lower case.
pub fn split_authority(text: &str) -> Result<(String, u16), AddressError> {
    let (host, port) =
        text.rsplit_once(':').ok_or(AddressError("a port is needed, as in nas.home:8443"))?;
    let port = port
        .parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or(AddressError("the port is not a number from 1 to 65535"))?;
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let fine = match bare {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.len() <= 253 && host.chars().all(plain),
    };
    if !fine {
        return Err(AddressError("the host is not a name or an IP address"));
    }
    Ok((bare.unwrap_or(host).to_ascii_lowercase(), port))
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.spki.as_bytes()[..], &self.identity].concat();
        f.write_str(&BASE64URL_NOPAD.encode(&bytes))
    }
}

impl FromStr for Pin {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok();
        let bytes: Option<[u8; 64]> = bytes.and_then(|bytes| bytes.try_into().ok());
        let bytes = bytes.ok_or(AddressError("the pin is not whole"))?;
        let (spki, identity) = bytes.split_at(32);
        match (Hash::from_slice(spki), identity.try_into()) {
            (Some(spki), Ok(identity)) => Ok(Self { spki, identity }),
            _ => Err(AddressError("the pin is not whole")),
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = match &self.target {
            Target::Account(id) => id.to_string(),
            Target::Invite(secret) => BASE64URL_NOPAD.encode(secret),
        };
        write!(f, "{SCHEME}{}/{target}?pin={}", self.authority(), self.pin)
    }
}

impl FromStr for ServerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let rest =
            text.strip_prefix(SCHEME).ok_or(AddressError("it does not begin with unseen://"))?;
        let (place, pin) = rest.split_once("?pin=").ok_or(AddressError("the pin is missing"))?;
        let (authority, target) =
            place.split_once('/').ok_or(AddressError("the account or invite is missing"))?;
        let (host, port) = split_authority(authority)?;
        let target = match target.parse() {
            Ok(id) => Target::Account(id),
            Err(_no_id) => BASE64URL_NOPAD
                .decode(target.as_bytes())
                .ok()
                .filter(|secret| (MIN_INVITE..=MAX_INVITE).contains(&secret.len()))
                .map(Target::Invite)
                .ok_or(AddressError("the account or invite is not whole"))?,
        };
        Ok(Self { host, port, target, pin: pin.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pin() -> Pin {
        Pin { spki: Hash::from_bytes([0xfb; 32]), identity: [0xff; 32] }
    }

    #[test]
    fn bytes_are_pinned() {
        let address = ServerAddress {
            host: "nas.home".into(),
            port: 8443,
            target: Target::Account(VaultId::from_bytes([0xab; 16])),
            pin: pin(),
        };
        let text = format!(
            "unseen://nas.home:8443/{}?pin={}-_v_{}_w",
            "ab".repeat(16),
            "-_v7".repeat(10),
            "_".repeat(40)
        );
        assert_eq!(address.to_string(), text);
        assert_eq!(text.parse(), Ok(address));
    }

    #[test]
    fn refusals() {
        let good = format!("unseen://h:1/{}?pin={}", "ab".repeat(16), pin());
        assert!(good.parse::<ServerAddress>().is_ok());
        for (from, to) in [
            ("unseen:", "https:"),
            ("h:1", "h"),
            ("h:1", "h:0"),
            ("h:1", "h:65536"),
            ("h:1", ":1"),
            ("h:1", "u@h:1"),
            ("h:1", "[::z]:1"),
            ("abab", "zz"),
            ("?pin=", "?"),
            ("?pin=", "?pin=A"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert!(bad.parse::<ServerAddress>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(host in "[a-z0-9][a-z0-9.-]{0,30}|::1|fe80::1:2", port in 1u16.., account in any::<[u8; 16]>(),
                      invite in prop::option::of(prop::collection::vec(any::<u8>(), 18..=18)),
                      spki in any::<[u8; 32]>(), identity in any::<[u8; 32]>()) {
            let target = invite.map_or(Target::Account(VaultId::from_bytes(account)), Target::Invite);
            let address = ServerAddress { host, port, target, pin: Pin { spki: Hash::from_bytes(spki), identity } };
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }

        #[test]
        fn garbage_never_panics(text in ".{0,80}") {
            drop(text.parse::<ServerAddress>());
        }
    }
}
