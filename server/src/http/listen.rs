//! Where a server listens: a TCP address, or a Unix socket for a proxy on the same machine.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A place to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// An address; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A socket file.
    Unix(SocketFile),
}

/// A socket in the file system, and who may connect to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketFile {
    /// Its path, absolute.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// User and group that it is given to, by number.
    pub owner: (Option<u32>, Option<u32>),
}

impl SocketFile {
    /// For its owner and nobody else.
    pub const PRIVATE: u32 = 0o600;
}

impl Listen {
    /// Whether only this machine can connect.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(file) => write!(f, "unix:{}", file.path.display()),
        }
    }
}

/// Why a text is no place to listen at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an address and port such as 0.0.0.0:8443, or unix:/path/to/socket, is needed")]
pub struct NoPlace;

impl FromStr for Listen {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            let file = SocketFile { path, mode: SocketFile::PRIVATE, owner: (None, None) };
            let named = file.path.is_absolute() && file.path.file_name().is_some();
            return if named { Ok(Self::Unix(file)) } else { Err(NoPlace) };
        }
        text.parse().map(Self::Tcp).map_err(|_e: std::net::AddrParseError| NoPlace)
    }
}

/// What listens. A socket file is removed when it is dropped.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix { listener: UnixListener, _file: Removed },
}

/// A socket file that goes with its listener.
#[derive(Debug)]
pub(crate) struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::debug!(kind = ?error.kind(), "removing the socket");
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Stream {
    /// Who connected. A socket file has no addresses: whoever comes through it is on this machine.
    pub(crate) const fn peer(&self) -> IpAddr {
        match self {
            Self::Tcp(_, peer) => peer.ip(),
            Self::Unix(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }
}

impl Listener {
    /// Begins to listen; tells where, with the real port.
    pub(crate) async fn bind(place: &Listen) -> io::Result<(Self, Listen)> {
        match place {
            Listen::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                let address = listener.local_addr()?;
                Ok((Self::Tcp(listener), Listen::Tcp(address)))
            }
            Listen::Unix(file) => {
                let (listener, file) = bind_file(file)?;
                Ok((Self::Unix { listener, _file: file }, place.clone()))
            }
        }
    }

    /// Whether an address could be listened on now.
    pub(crate) fn is_free(place: &Listen) -> io::Result<()> {
        match place {
            Listen::Tcp(address) => std::net::TcpListener::bind(address).map(drop),
            Listen::Unix(file) => match StdUnixStream::connect(&file.path) {
                Ok(_) => Err(io::Error::from(io::ErrorKind::AddrInUse)),
                Err(_) => Ok(()),
            },
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Stream::Tcp(stream, peer))
            }
            Self::Unix { listener, .. } => listener.accept().await.map(|(s, _)| Stream::Unix(s)),
        }
    }
}

/// The socket gets its final name when nobody else can open it any more than is meant.
fn bind_file(file: &SocketFile) -> io::Result<(UnixListener, Removed)> {
    remove_stale(&file.path)?;
    let mut hidden = file.path.clone().into_os_string();
    hidden.push(format!(".{}", std::process::id()));
    let hidden = PathBuf::from(hidden);
    let listener = UnixListener::bind(&hidden)?;
    let moved = std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(file.mode))
        .and_then(|()| match file.owner {
            // A service manager may forbid even a call that changes nothing.
            (None, None) => Ok(()),
            (user, group) => chown(&hidden, user, group),
        })
        .and_then(|()| std::fs::rename(&hidden, &file.path));
    if let Err(error) = moved {
        drop(Removed(hidden));
        return Err(error);
    }
    Ok((listener, Removed(file.path.clone())))
}

/// Removes a socket that nobody listens on any more; anything else stays and is an error.
fn remove_stale(path: &Path) -> io::Result<()> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() || StdUnixStream::connect(path).is_ok() {
        return Err(io::Error::from(io::ErrorKind::AddrInUse));
    }
    std::fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let tcp: Listen = "[::1]:80".parse().unwrap();
        assert_eq!((tcp.is_local(), tcp.to_string()), (true, "[::1]:80".to_owned()));
        assert!(!"0.0.0.0:80".parse::<Listen>().unwrap().is_local());
        let unix: Listen = "unix:/run/x.sock".parse().unwrap();
        assert_eq!((unix.is_local(), unix.to_string()), (true, "unix:/run/x.sock".to_owned()));
        for bad in ["", "80", "host:80", "unix:", "unix:x.sock", "unix:/", "1.2.3.4:65536"] {
            assert_eq!(bad.parse::<Listen>(), Err(NoPlace), "{bad}");
        }
    }

    #[tokio::test]
    async fn sockets_are_as_asked_for_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let file = SocketFile { path: path.clone(), mode: 0o660, owner: (None, None) };
        let place = Listen::Unix(file);
        let (listener, _) = Listener::bind(&place).await.unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let second = Listener::bind(&place).await.unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        // One that a killed server left.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        drop(Listener::bind(&place).await.unwrap());
        // A file that is no socket is not ours to remove.
        std::fs::write(&path, "precious").unwrap();
        Listener::bind(&place).await.unwrap_err();
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}
