//! What `serve` needs to know, out of the settings.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::keys::{self, Key};
use super::{ConfigError, Settings, owner};
use crate::cli::scrubs::Every;
use crate::cli::units;
use crate::http::Listen;
use crate::store::space::DiskLimits;

/// How to serve.
#[derive(Debug)]
pub(in crate::cli) struct Serving {
    pub(in crate::cli) data: PathBuf,
    pub(in crate::cli) listen: Listen,
    pub(in crate::cli) public_address: Option<String>,
    pub(in crate::cli) tls_cert: Option<PathBuf>,
    pub(in crate::cli) tls_key: Option<PathBuf>,
    pub(in crate::cli) allow_new_key: bool,
    pub(in crate::cli) behind_proxy: bool,
    pub(in crate::cli) metrics: Option<Listen>,
    pub(in crate::cli) disk: DiskLimits,
    pub(in crate::cli) scrub: Every,
    pub(in crate::cli) on_silent: Option<PathBuf>,
    pub(in crate::cli) deadline: Duration,
    pub(in crate::cli) log_addresses: bool,
}

impl Serving {
    /// Puts it together, and refuses what contradicts itself.
    pub(in crate::cli) fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let path = |key: &Key| settings.get(key).map(PathBuf::from);
        let switch = |key: &Key| Ok(settings.read(key, keys::switch)?.unwrap_or_default());
        let seconds = settings.read(&keys::SHUTDOWN_DEADLINE, units::some_seconds)?;
        let serving = Self {
            data: path(&keys::DATA).ok_or(ConfigError::NoData)?,
            listen: place(settings, &keys::LISTEN)?.ok_or(ConfigError::NoData)?,
            public_address: settings.get(&keys::PUBLIC_ADDRESS).map(str::to_owned),
            tls_cert: path(&keys::TLS_CERT),
            tls_key: path(&keys::TLS_KEY),
            allow_new_key: switch(&keys::TLS_ALLOW_NEW_KEY)?,
            behind_proxy: switch(&keys::BEHIND_PROXY)?,
            metrics: Self::metrics(settings)?,
            disk: Self::disk(settings)?,
            scrub: Self::scrub(settings)?,
            on_silent: path(&keys::ON_SILENT),
            deadline: Duration::from_secs(seconds.unwrap_or_default()),
            log_addresses: switch(&keys::LOG_ADDRESSES)?,
        };
        serving.consistent().map_or(Ok(serving), |why| Err(ConfigError::Together(why)))
    }

    /// Where metrics and health are, if anywhere.
    pub(in crate::cli) fn metrics(settings: &Settings) -> Result<Option<Listen>, ConfigError> {
        place(settings, &keys::METRICS_LISTEN)
    }

    fn scrub(settings: &Settings) -> Result<Every, ConfigError> {
        let seconds = settings.read(&keys::SCRUB_EVERY, keys::scrub_every)?.unwrap_or_default();
        let rate = settings.read(&keys::SCRUB_RATE, units::bytes)?.unwrap_or_default();
        Ok(Every { seconds, rate })
    }

    fn disk(settings: &Settings) -> Result<DiskLimits, ConfigError> {
        let keep_free = settings.read(&keys::KEEP_FREE, units::bytes)?;
        let reserve = settings.read(&keys::RESERVE, units::bytes)?.unwrap_or_default();
        Ok(DiskLimits { keep_free, reserve })
    }

    fn consistent(&self) -> Option<&'static str> {
        let unix = matches!(self.listen, Listen::Unix(_));
        let clashes = [
            (self.tls_key.is_some() && self.tls_cert.is_none(), "tls-key needs tls-cert, too"),
            (
                self.tls_key.is_some() && self.behind_proxy,
                "behind-proxy does no TLS: leave out tls-key; tls-cert is the proxy's certificate",
            ),
            (
                self.behind_proxy && !self.listen.is_local(),
                "behind-proxy is plain HTTP, but listen is not a loopback address or unix:/PATH",
            ),
            (
                unix && !self.behind_proxy,
                "a Unix socket is for a proxy on this machine: set behind-proxy, too",
            ),
            (
                unix && self.public_address.is_none(),
                "with a Unix socket, public-address must say where clients reach the proxy",
            ),
            (
                self.metrics.as_ref().is_some_and(|place| !place.is_local()),
                "metrics-listen is not a loopback address or unix:/PATH; it is for this machine alone",
            ),
        ];
        clashes.into_iter().find(|(clash, _)| *clash).map(|(_, why)| why)
    }
}

/// A place to listen at, `None` if it is off.
fn place(settings: &Settings, key: &Key) -> Result<Option<Listen>, ConfigError> {
    if settings.get(key) == Some(keys::OFF) {
        return Ok(None);
    }
    let parse = |text: &str| Listen::from_str(text).map_err(|error| error.to_string());
    let mut place = settings.read(key, parse)?;
    if let Some(Listen::Unix(file)) = &mut place {
        file.mode = settings.read(&keys::SOCKET_MODE, keys::mode)?.unwrap_or(file.mode);
        file.owner = settings.read(&keys::SOCKET_OWNER, owner::parse)?.unwrap_or(file.owner);
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::file;
    use super::super::flags::{Flags, Given};
    use super::*;

    fn read(text: &str) -> Result<Serving, ConfigError> {
        let file = file::parse(Path::new("s.toml"), text)?;
        Serving::read(&Settings::new(&file, &Flags::default(), &Flags::default()))
    }

    #[test]
    fn the_order_of_precedence() {
        let text = "data = \"f\"\nlisten = \"1.1.1.1:1\"\npublic-address = \"f:1\"";
        let file = file::parse(Path::new("s.toml"), text).unwrap();
        let given = |key, value: &str, by_variable| Given { key, value: value.into(), by_variable };
        let flags = Flags(vec![
            given(&keys::LISTEN, "2.2.2.2:2", true),
            given(&keys::PUBLIC_ADDRESS, "flag:1", false),
        ]);
        let settings = Settings::new(&file, &Flags::default(), &flags);
        let shown = |key| {
            let (value, source) = settings.find(key).unwrap();
            format!("{value} from {source}")
        };
        assert_eq!(shown(&keys::PUBLIC_ADDRESS), "flag:1 from the command line");
        assert_eq!(shown(&keys::LISTEN), "2.2.2.2:2 from UNSEEN_LISTEN");
        assert_eq!(shown(&keys::DATA), "f from s.toml, line 1");
        assert_eq!(shown(&keys::METRICS_LISTEN), "off from default");
        assert!(settings.find(&keys::TLS_CERT).is_none());
    }

    #[test]
    fn defaults_are_safe() {
        let serving = read("data = \"d\"").unwrap();
        assert_eq!(serving.deadline, Duration::from_secs(60));
        assert!(!serving.behind_proxy && !serving.log_addresses && !serving.allow_new_key);
        assert!(serving.metrics.is_none());
        assert!(matches!(read(""), Err(ConfigError::NoData)));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let proxy = "data = \"d\"\nbehind-proxy = true\nlisten = ";
        let socket = format!("{proxy}\"unix:/run/x\"\npublic-address = \"a:1\"");
        let Listen::Unix(file) = read(&format!("{socket}\nsocket-mode = \"660\"")).unwrap().listen
        else {
            panic!("no socket");
        };
        assert_eq!(file.mode, 0o660);
        for (text, told) in [
            (format!("{proxy}\"0.0.0.0:1\""), "not a loopback address"),
            (format!("{proxy}\"127.0.0.1:1\"\ntls-cert = \"c\"\ntls-key = \"k\""), "no TLS"),
            (format!("{proxy}\"unix:/run/x\""), "public-address"),
            (socket.replace("true", "false"), "for a proxy"),
            ("data = \"d\"\ntls-key = \"k\"".to_owned(), "tls-cert"),
            ("data = \"d\"\nmetrics-listen = \"0.0.0.0:1\"".to_owned(), "for this machine alone"),
        ] {
            let refused = read(&text).unwrap_err().to_string();
            assert!(refused.contains(told), "{text}: {refused}");
        }
    }
}
