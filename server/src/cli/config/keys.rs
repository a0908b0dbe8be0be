//! Every setting of the server, once: the flags, the environment variables, the keys of the file,
//! the help and the table in docs/OPERATING.md all come from here.

use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use unseen_common::wire::address::split_authority;

use super::owner;
use crate::cli::units;
use crate::http::Listen;

/// A setting. `name` is the key of the file; the flag is `--name`, the variable `UNSEEN_NAME`.
#[derive(Debug)]
pub(in crate::cli) struct Key {
    pub(in crate::cli) name: &'static str,
    /// What stands for its value in help.
    pub(super) value: &'static str,
    pub(super) default: Option<&'static str>,
    pub(super) help: &'static str,
    /// It is about every command and not about serving alone.
    pub(super) everywhere: bool,
    /// Whether a text can be its value.
    pub(super) check: fn(&str) -> Result<(), String>,
}

impl Key {
    /// The environment variable.
    pub(super) fn variable(&self) -> String {
        format!("UNSEEN_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }

    pub(super) const fn is_switch(&self) -> bool {
        self.value.is_empty()
    }

    /// The setting of this name.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        ALL.iter().copied().find(|key| key.name == name)
    }
}

pub(in crate::cli) const DATA: Key = Key {
    name: "data",
    value: "DIR",
    default: None,
    help: "Where everything is kept; made if absent",
    everywhere: false,
    check: not_empty,
};

pub(in crate::cli) const LISTEN: Key = Key {
    name: "listen",
    value: "ADDR:PORT",
    default: Some("0.0.0.0:8443"),
    help: "Where to listen: port 0 takes a free one; unix:/PATH is a socket for a proxy",
    everywhere: false,
    check: listen,
};

pub(in crate::cli) const SOCKET_MODE: Key = Key {
    name: "socket-mode",
    value: "OCTAL",
    default: Some("0600"),
    help: "Who may connect to a Unix socket",
    everywhere: false,
    check: |text| mode(text).map(drop),
};

pub(in crate::cli) const SOCKET_OWNER: Key = Key {
    name: "socket-owner",
    value: "[USER][:GROUP]",
    default: None,
    help: "Whose a Unix socket is to be, such as :www-data",
    everywhere: false,
    check: |text| owner::parse(text).map(drop),
};

pub(in crate::cli) const PUBLIC_ADDRESS: Key = Key {
    name: "public-address",
    value: "HOST:PORT",
    default: None,
    help: "Where clients reach the server, for invites",
    everywhere: false,
    check: |text| split_authority(text).map(drop).map_err(|error| error.to_string()),
};

pub(in crate::cli) const TLS_CERT: Key = Key {
    name: "tls-cert",
    value: "FILE",
    default: None,
    help: "A certificate chain of your own, PEM; behind a proxy: the proxy's",
    everywhere: false,
    check: not_empty,
};

pub(in crate::cli) const TLS_KEY: Key = Key {
    name: "tls-key",
    value: "FILE",
    default: None,
    help: "Its key, PEM; may stand in the same file",
    everywhere: false,
    check: not_empty,
};

pub(in crate::cli) const TLS_ALLOW_NEW_KEY: Key = Key {
    name: "tls-allow-new-key",
    value: "",
    default: Some("false"),
    help: "Serve with another TLS key than the one that clients pinned, which cuts them off",
    everywhere: false,
    check: |text| switch(text).map(drop),
};

pub(in crate::cli) const BEHIND_PROXY: Key = Key {
    name: "behind-proxy",
    value: "",
    default: Some("false"),
    help: "Plain HTTP on loopback or a Unix socket, for a proxy on this machine that does TLS",
    everywhere: false,
    check: |text| switch(text).map(drop),
};

pub(in crate::cli) const METRICS_LISTEN: Key = Key {
    name: "metrics-listen",
    value: "ADDR:PORT",
    default: Some("off"),
    help: "Metrics, health and the status page: a loopback address, unix:/PATH, or off",
    everywhere: false,
    check: |text| if text == OFF { Ok(()) } else { listen(text) },
};

pub(in crate::cli) const KEEP_FREE: Key = Key {
    name: "keep-free",
    value: "SIZE",
    default: None,
    help: "How much of the disk packs leave free; 256 MiB, or 1 % of a small disk, if not given",
    everywhere: false,
    check: |text| units::bytes(text).map(drop),
};

pub(in crate::cli) const RESERVE: Key = Key {
    name: "reserve",
    value: "SIZE",
    default: Some("64MiB"),
    help: "What is set aside to pay for records when the disk is full",
    everywhere: false,
    check: |text| units::bytes(text).map(drop),
};

pub(in crate::cli) const SCRUB_EVERY: Key = Key {
    name: "scrub-every",
    value: "TIME",
    default: Some("30d"),
    help: "How often everything that is stored is read again and checked",
    everywhere: false,
    check: |text| scrub_every(text).map(drop),
};

pub(in crate::cli) const SCRUB_RATE: Key = Key {
    name: "scrub-rate",
    value: "SIZE",
    default: Some("30MB"),
    help: "How much of it at most is read in a second",
    everywhere: false,
    check: |text| units::bytes(text).map(drop),
};

pub(in crate::cli) const ON_SILENT: Key = Key {
    name: "on-silent",
    value: "FILE",
    default: None,
    help: "A program to run when devices are silent for longer than their owners allow",
    everywhere: false,
    check: not_empty,
};

pub(in crate::cli) const SHUTDOWN_DEADLINE: Key = Key {
    name: "shutdown-deadline",
    value: "TIME",
    default: Some("60s"),
    help: "How long running requests may go on when the server is told to end",
    everywhere: false,
    check: |text| units::some_seconds(text).map(drop),
};

pub(in crate::cli) const LOG_ADDRESSES: Key = Key {
    name: "log-addresses",
    value: "",
    default: Some("false"),
    help: "Log the addresses of clients, and tell everybody that asks the server so",
    everywhere: false,
    check: |text| switch(text).map(drop),
};

pub(in crate::cli) const LOG_FORMAT: Key = Key {
    name: "log-format",
    value: "FORMAT",
    default: Some("text"),
    help: "How log lines on stderr look: text or json",
    everywhere: true,
    check: |text| match text {
        "text" | "json" => Ok(()),
        _ => Err("text and json are possible".to_owned()),
    },
};

pub(in crate::cli) const LOG_LEVEL: Key = Key {
    name: "log-level",
    value: "LEVEL",
    default: Some("info"),
    help: "What is logged: off, error, warn, info, debug, trace, or a filter such as warn,h2=debug",
    everywhere: true,
    check: |text| EnvFilter::from_str(text).map(drop).map_err(|error| error.to_string()),
};

/// All of them, in the order in which they are shown.
pub(in crate::cli) const ALL: [&Key; 19] = [
    &DATA,
    &LISTEN,
    &SOCKET_MODE,
    &SOCKET_OWNER,
    &PUBLIC_ADDRESS,
    &TLS_CERT,
    &TLS_KEY,
    &TLS_ALLOW_NEW_KEY,
    &BEHIND_PROXY,
    &METRICS_LISTEN,
    &KEEP_FREE,
    &RESERVE,
    &SCRUB_EVERY,
    &SCRUB_RATE,
    &ON_SILENT,
    &SHUTDOWN_DEADLINE,
    &LOG_ADDRESSES,
    &LOG_FORMAT,
    &LOG_LEVEL,
];

/// No such listener.
pub(super) const OFF: &str = "off";

/// `true` or `false`.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_e| "true and false are possible".to_owned())
}

/// Seconds between scrubs: with fewer the server would do nothing else.
pub(super) fn scrub_every(text: &str) -> Result<u64, String> {
    let seconds = units::seconds(text)?;
    if seconds < 60 * 60 {
        return Err(format!("{text} is less than an hour: the server would read without end"));
    }
    Ok(seconds)
}

/// Permission bits in octal digits.
pub(super) fn mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| "permissions are octal digits such as 0660".to_owned())
}

fn listen(text: &str) -> Result<(), String> {
    Listen::from_str(text).map(drop).map_err(|error| error.to_string())
}

fn not_empty(text: &str) -> Result<(), String> {
    if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As docs/OPERATING.md has them.
    fn table() -> String {
        let mut text = String::from("| key | value | default | what |\n|---|---|---|---|\n");
        for key in ALL {
            let value = if key.is_switch() { "true, false" } else { key.value };
            let default = key.default.map_or_else(String::new, |text| format!("`{text}`"));
            let row = format!("| `{}` | {value} | {default} | {} |\n", key.name, key.help);
            text.push_str(&row);
        }
        text
    }

    #[test]
    fn the_manual_has_every_key() {
        let manual = include_str!("../../../../docs/OPERATING.md");
        assert!(manual.contains(&table()), "docs/OPERATING.md is to contain\n{}", table());
    }

    #[test]
    fn the_example_has_every_key_and_holds() {
        let example = include_str!("../../../../docs/deploy/server.toml");
        for key in ALL.iter().filter(|key| key.name != "data") {
            let line = format!("# {} = ", key.name);
            assert!(example.lines().any(|text| text.starts_with(&line)), "{line}");
        }
        // With every key in use, too.
        let used: String = example
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(key) if key.contains(" = ") => key,
                _ => line,
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        for text in [example, &used] {
            super::super::file::parse(std::path::Path::new("server.toml"), text).unwrap();
        }
    }

    #[test]
    fn defaults_and_names_hold() {
        for key in ALL {
            assert_eq!(Key::find(key.name).map(|found| found.name), Some(key.name));
            assert!(key.default.is_none_or(|text| (key.check)(text).is_ok()), "{}", key.name);
            assert!((key.check)("").is_err() || key.name == "log-level", "{}", key.name);
        }
        assert_eq!(SHUTDOWN_DEADLINE.variable(), "UNSEEN_SHUTDOWN_DEADLINE");
        assert_eq!(scrub_every("1h"), Ok(3600));
        assert!(scrub_every("0d").is_err() && (SHUTDOWN_DEADLINE.check)("0s").is_err());
        assert_eq!(mode("0660"), Ok(0o660));
        for bad in ["", "8", "1777", "-1"] {
            assert!(mode(bad).is_err(), "{bad}");
        }
    }
}
