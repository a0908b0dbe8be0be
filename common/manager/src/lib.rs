//! What the service manager is told: lines to the datagram socket that it names in the
//! environment, as `sd_notify(3)` describes them.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Names the socket.
const SOCKET: &str = "NOTIFY_SOCKET";
/// Microseconds after which silence counts as death.
const WATCHDOG: &str = "WATCHDOG_USEC";

/// The service manager; nobody, if there is none.
#[derive(Debug, Default)]
pub struct Manager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// As the environment names it. An error if it cannot be reached.
    pub fn from_environment() -> io::Result<Self> {
        let watchdog = std::env::var(WATCHDOG).ok();
        Self::new(std::env::var_os(SOCKET), watchdog.as_deref())
    }

    /// The manager at this socket.
    pub fn new(socket: Option<OsString>, watchdog: Option<&str>) -> io::Result<Self> {
        let Some(name) = socket else {
            return Ok(Self::default());
        };
        let socket = connect(&name)?;
        let micros = watchdog.and_then(|text| text.parse().ok()).filter(|n| *n > 0);
        Ok(Self { socket: Some(socket), watchdog: micros.map(Duration::from_micros) })
    }

    /// How often it wants to hear that all is well: half of its patience.
    pub fn pulse(&self) -> Option<Duration> {
        self.watchdog.map(|patience| patience / 2)
    }

    /// The program can be used.
    pub fn ready(&self) {
        self.tell("READY=1\n");
    }

    /// It reads its files again; [`ready`](Self::ready) follows.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\n"));
    }

    /// It ends.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\n");
    }

    /// It is alive.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1\n");
    }

    /// What it does, in a few words.
    pub fn doing(&self, words: &str) {
        let line: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.tell(&format!("STATUS={line}\n"));
    }

    fn tell(&self, lines: &str) {
        if let Some(socket) = &self.socket {
            // A manager that takes nothing more is no reason to do less.
            socket.send(lines.as_bytes()).ok();
        }
    }
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    // It must never hold up what it is told about.
    socket.set_nonblocking(true)?;
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => {
            use std::os::linux::net::SocketAddrExt;
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            socket.connect_addr(&address)?;
        }
        None => socket.connect(name)?,
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let there = UnixDatagram::bind(&path).unwrap();
        let manager = Manager::new(Some(path.into_os_string()), Some("30000000")).unwrap();
        assert_eq!(manager.pulse(), Some(Duration::from_secs(15)));
        let heard = || {
            let mut bytes = [0; 256];
            let length = there.recv(&mut bytes).unwrap();
            String::from_utf8(bytes[..length].to_vec()).unwrap()
        };
        manager.ready();
        assert_eq!(heard(), "READY=1\n");
        manager.reloading();
        let text = heard();
        let micros = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(micros.trim_end().parse::<u64>().unwrap() > 0, "{text}");
        manager.alive();
        assert_eq!(heard(), "WATCHDOG=1\n");
        manager.doing("backing up a\nREADY=1");
        assert_eq!(heard(), "STATUS=backing up a READY=1\n");
        manager.stopping();
        assert_eq!(heard(), "STOPPING=1\n");
    }

    #[test]
    fn nobody_is_nobody() {
        let nobody = Manager::new(None, Some("30000000")).unwrap();
        nobody.ready();
        assert_eq!(nobody.pulse(), None);
        assert!(Manager::new(Some("/nowhere/notify".into()), Some("30000000")).is_err());
    }
}
