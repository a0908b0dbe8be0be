//! The address of a client: held as long as its connection, never written down.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Where a client is. It cannot be printed or compared; all that comes out of it is a bucket under
/// a key of this process.
#[derive(Clone, Copy)]
pub struct ClientAddr(IpAddr);

/// A client as rate limits know it: of no use without the key, which no one keeps.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddrBucket([u8; 16]);

impl ClientAddr {
    /// What limits count by: one IPv4 address, or one IPv6 network of 64 bits, hashed under `key`.
    pub fn bucket(&self, key: &[u8; 32]) -> AddrBucket {
        let mut hasher = blake3::Hasher::new_keyed(key);
        match self.0 {
            IpAddr::V4(v4) => hasher.update(&[4]).update(&v4.octets()),
            IpAddr::V6(v6) => {
                hasher.update(&[6]).update(v6.octets().first_chunk::<8>().unwrap_or(&[0; 8]))
            }
        };
        let mut out = [0; 16];
        hasher.finalize_xof().fill(&mut out);
        AddrBucket(out)
    }

    /// Whether the client is on this machine, as a proxy is.
    pub const fn is_loopback(&self) -> bool {
        self.0.is_loopback()
    }
}

impl From<IpAddr> for ClientAddr {
    fn from(address: IpAddr) -> Self {
        // ::ffff:a.b.c.d is the machine a.b.c.d.
        let v4 = match address {
            IpAddr::V6(v6) => Ipv6Addr::to_ipv4_mapped(&v6),
            IpAddr::V4(_) => None,
        };
        Self(v4.map_or(address, IpAddr::V4))
    }
}

impl From<SocketAddr> for ClientAddr {
    fn from(address: SocketAddr) -> Self {
        address.ip().into()
    }
}

impl fmt::Debug for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientAddr(..)")
    }
}

impl fmt::Debug for AddrBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AddrBucket(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> ClientAddr {
        text.parse::<IpAddr>().unwrap().into()
    }

    trait Otherwise {
        const SHOWN: bool = false;
    }

    struct Probe<T>(std::marker::PhantomData<T>);

    impl<T> Otherwise for Probe<T> {}

    // An inherent constant goes before one of a trait, where its bound holds.
    impl<T: fmt::Display> Probe<T> {
        const SHOWN: bool = true;
    }

    #[test]
    fn an_address_has_no_display() {
        let shown =
            [Probe::<IpAddr>::SHOWN, Probe::<ClientAddr>::SHOWN, Probe::<AddrBucket>::SHOWN];
        assert_eq!(shown, [true, false, false]);
    }

    #[test]
    fn nothing_of_an_address_is_printed() {
        let held = ClientAddr::from("203.0.113.7:4711".parse::<SocketAddr>().unwrap());
        assert_eq!(format!("{held:?} {held:#?}"), "ClientAddr(..) ClientAddr(..)");
        assert_eq!(format!("{:?}", held.bucket(&[1; 32])), "AddrBucket(..)");
        assert_eq!(format!("{:?}", Some((1, held))), "Some((1, ClientAddr(..)))");
    }

    #[test]
    fn buckets_are_addresses_or_networks_under_a_key() {
        let key = [1; 32];
        let bucket = |text| addr(text).bucket(&key);
        assert_eq!(bucket("203.0.113.7"), bucket("::ffff:203.0.113.7"));
        assert_ne!(bucket("203.0.113.7"), bucket("203.0.113.8"));
        assert_eq!(bucket("2001:db8::1"), bucket("2001:db8::ffff:1"));
        assert_ne!(bucket("2001:db8::1"), bucket("2001:db8:0:1::1"));
        assert_ne!(bucket("203.0.113.7"), addr("203.0.113.7").bucket(&[2; 32]));
        assert!(addr("127.0.0.1").is_loopback() && addr("::1").is_loopback());
        assert!(!addr("203.0.113.7").is_loopback());
    }
}
