//! Tells each request which client it comes from.

use std::net::IpAddr;

use axum::Router;
use axum::response::Response;
use http::{HeaderMap, Request};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::client_addr::ClientAddr;
use super::listen::Stream;

/// The routes, for one connection: each request is told where it comes from.
#[derive(Debug)]
pub(super) struct Named {
    peer: Option<ClientAddr>,
    /// The peer is a proxy, which names the client.
    proxied: bool,
    inner: TowerToHyperService<Router>,
}

impl Named {
    pub(super) fn new(stream: &Stream, proxied: bool, router: &Router) -> Self {
        let peer = match stream {
            Stream::Tcp(_, address) => Some(ClientAddr::from(*address)),
            Stream::Unix(_) => None,
        };
        Self { peer, proxied, inner: TowerToHyperService::new(router.clone()) }
    }
}

impl Service<Request<Incoming>> for Named {
    type Response = Response;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let client = if self.proxied { forwarded(request.headers()) } else { None };
        if let Some(client) = client.or(self.peer) {
            request.extensions_mut().insert(client);
        }
        self.inner.call(request)
    }
}

/// The last address of `X-Forwarded-For`: what stands before it, the client may have written.
fn forwarded(headers: &HeaderMap) -> Option<ClientAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?;
    let last = last.to_str().ok()?.rsplit(',').next()?.trim();
    last.parse().ok().map(|address: IpAddr| ClientAddr::from(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxys_own_word_counts() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            forwarded(&headers).map(|client| client.disclosed())
        };
        assert_eq!(of(&["192.0.2.1"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(of(&["6.6.6.6, 192.0.2.1"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(of(&["6.6.6.6", "2001:db8::1"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(of(&["::ffff:192.0.2.1"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(of(&["192.0.2.1, unknown"]), None);
        assert_eq!(of(&[]), None);
    }
}
