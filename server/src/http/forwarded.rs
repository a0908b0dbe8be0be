//! Who is behind a proxy. Only the last hop counts: it is what the proxy on this machine saw
//! itself; all before it is what clients say.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, header};

use super::client_addr::ClientAddr;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client that the proxy names. `X-Forwarded-For` goes before `Forwarded`: proxies that write
/// the first often pass the second on as the client sent it.
pub(super) fn client(headers: &HeaderMap) -> Option<ClientAddr> {
    match last(headers, &X_FORWARDED_FOR) {
        Some(hop) => node(hop),
        None => node(for_of(last(headers, &header::FORWARDED)?)?),
    }
    .map(ClientAddr::from)
}

/// The last element of the last header of this name.
fn last<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let text = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    text.rsplit(',').next().map(str::trim)
}

/// `for=` of one element of `Forwarded`.
fn for_of(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"'))
    })
}

/// An address with or without a port, as both headers write it.
fn node(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let alone = bare.parse::<IpAddr>();
    alone.ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    fn found(lines: &[(&HeaderName, &str)]) -> Option<super::super::client_addr::AddrBucket> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        client(&headers).map(|client| client.bucket(&[0; 32]))
    }

    fn is(text: &str) -> Option<super::super::client_addr::AddrBucket> {
        text.parse::<IpAddr>().ok().map(|ip| ClientAddr::from(ip).bucket(&[0; 32]))
    }

    #[test]
    fn the_last_hop_counts() {
        let (x, forwarded) = (&X_FORWARDED_FOR, &header::FORWARDED);
        assert!(found(&[]).is_none());
        assert!(found(&[(x, "203.0.113.7")]) == is("203.0.113.7"));
        assert!(found(&[(x, "10.0.0.1, 203.0.113.7")]) == is("203.0.113.7"));
        assert!(found(&[(x, "10.0.0.1"), (x, "203.0.113.7")]) == is("203.0.113.7"));
        assert!(found(&[(x, "203.0.113.7:4711")]) == is("203.0.113.7"));
        assert!(found(&[(x, "2001:db8::1")]) == is("2001:db8::1"));
        assert!(found(&[(x, "[2001:db8::1]:4711")]) == is("2001:db8::1"));
        assert!(found(&[(x, "10.0.0.1, unknown")]).is_none());
        let spoofed = [(forwarded, "for=10.0.0.1"), (x, "203.0.113.7")];
        assert!(found(&spoofed) == is("203.0.113.7"));
        assert!(
            found(&[(forwarded, "for=10.0.0.1, For=\"[2001:db8::1]:1\";by=x")])
                == is("2001:db8::1")
        );
        assert!(found(&[(forwarded, "for=_hidden")]).is_none());
        assert!(found(&[(forwarded, "by=203.0.113.7")]).is_none());
    }

    proptest! {
        #[test]
        fn any_header_is_read(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                for name in [X_FORWARDED_FOR, header::FORWARDED] {
                    let headers = HeaderMap::from_iter([(name, value.clone())]);
                    prop_assert!(client(&headers).is_none() || value.to_str().is_ok());
                }
            }
        }
    }
}
