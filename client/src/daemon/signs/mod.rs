//! Signs of the machine: power, network, sleep, use. What is not known stops nothing.

pub mod active;
pub mod clock;
pub mod metered;
pub mod network;
pub mod policy;
pub mod power;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

pub use metered::Metered;
pub use policy::{Policy, Verdict, Why};
pub use power::Power;

/// What the machine shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signs {
    /// Where the power comes from.
    pub power: Power,
    /// Whether what is sent costs money. None: not known.
    pub metered: Option<bool>,
    /// Whether there is a way to anywhere. None: not known; the outcome of connecting tells.
    pub network: Option<bool>,
}

/// Where the signs are.
#[derive(Debug, Clone)]
pub struct Places {
    /// `/sys/class/power_supply`.
    pub power: PathBuf,
    /// `/proc/net`.
    pub network: PathBuf,
    /// Who is asked whether the connection is metered.
    pub metered: Metered,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            power: "/sys/class/power_supply".into(),
            network: "/proc/net".into(),
            metered: Metered::default(),
        }
    }
}

impl Places {
    /// Looks at all of them. It takes some milliseconds, two seconds at most.
    pub fn look(&self) -> Signs {
        Signs {
            power: power::read(&self.power),
            metered: self.metered.ask(),
            network: network::read(&self.network),
        }
    }
}

/// The first bytes of a file of the system, without the line end. None if it cannot be read.
fn read_text(path: &Path, at_most: u64) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(at_most).read_to_string(&mut text).ok()?;
    Some(text.trim_end().to_owned())
}
