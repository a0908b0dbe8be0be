//! Names of hosts.

/// The host in `host`, `host:port`, `[v6]` or `[v6]:port`, in lower case and without brackets:
/// what a login signs as [`crate::vault::Service::host`].
pub fn host_of(authority: &str) -> String {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(host, _)| host),
        None => match authority.rsplit_once(':') {
            // More than one colon without brackets: a bare v6 address.
            Some((host, _)) if host.contains(':') => authority,
            Some((host, _)) => host,
            None => authority,
        },
    };
    host.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_brackets_go() {
        for (authority, host) in [
            ("NAS.home", "nas.home"),
            ("nas.home:8443", "nas.home"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("[::1]:8443", "::1"),
            ("[::1]", "::1"),
            ("::1", "::1"),
            ("", ""),
        ] {
            assert_eq!(host_of(authority), host, "{authority}");
        }
    }
}
