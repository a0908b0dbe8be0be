//! The socket itself.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::geteuid;

use crate::pins::private_folder;

/// Longer names do not fit into an address, on any system.
const LONGEST: usize = 100;

/// Listens at this path. Whoever calls this holds the daemon's lock, so a socket that is there
/// already is of a daemon that has ended.
pub(super) fn listen(path: &Path) -> io::Result<UnixListener> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    private_folder(folder)?;
    let found = fs::metadata(folder)?;
    if found.uid() != geteuid().as_raw() || found.mode() & 0o077 != 0 {
        let text = format!("{} is open to others: chmod 700 it", folder.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = short(path, |path| UnixListener::bind(path))?;
    // Until then the folder keeps others out.
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Connects to the daemon of this user. A daemon that was stopped takes nobody in: when as many
/// wait for it as may, this waits no longer than so long, and the error says that it would have to.
pub(super) fn connect(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let stream = short(path, |path| reach(path, patience))?;
    if is_mine(&stream) {
        Ok(stream)
    } else {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "another user listens there"))
    }
}

#[cfg(target_os = "linux")]
fn reach(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    use rustix::net::sockopt::{Timeout, set_socket_timeout};
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(patience))?;
    let address = SocketAddrUnix::new(path)?;
    rustix::io::retry_on_intr(|| rustix::net::connect(&socket, &address))?;
    Ok(socket.into())
}

/// Elsewhere nobody waits: where no more may, the next one is refused.
#[cfg(not(target_os = "linux"))]
fn reach(path: &Path, _: Duration) -> io::Result<UnixStream> {
    UnixStream::connect(path)
}

/// Whether the other side is a process of the same user.
#[cfg(target_os = "linux")]
pub(super) fn is_mine(stream: &UnixStream) -> bool {
    let peer = rustix::net::sockopt::socket_peercred(stream);
    peer.is_ok_and(|peer| peer.uid == geteuid())
}

/// The process on the other side: whoever listened, for a client.
#[cfg(target_os = "linux")]
pub(super) fn process(stream: &UnixStream) -> Option<u32> {
    let peer = rustix::net::sockopt::socket_peercred(stream).ok()?;
    u32::try_from(peer.pid.as_raw_nonzero().get()).ok()
}

/// Not every system tells.
#[cfg(not(target_os = "linux"))]
pub(super) fn process(_: &UnixStream) -> Option<u32> {
    None
}

/// Whether the other side has closed the connection. One that has sent all it had to send, and
/// still reads, has not.
pub(super) fn has_gone(stream: &UnixStream) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut looked = [PollFd::new(stream, PollFlags::empty())];
    let known = poll(&mut looked, Some(&at_once));
    let [looked] = looked;
    known.is_ok() && looked.revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

/// The modes of the socket and its folder keep others out.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_mine(_: &UnixStream) -> bool {
    true
}

/// A long path is reached by way of its folder.
#[cfg(target_os = "linux")]
fn short<T>(path: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    use std::os::fd::AsRawFd;
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return act(path);
    };
    if path.as_os_str().len() <= LONGEST {
        return act(path);
    }
    let folder = fs::File::open(folder)?;
    act(&Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name))
}

#[cfg(not(target_os = "linux"))]
fn short<T>(path: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().len() > LONGEST {
        let text = format!("{} is too long for the name of a socket", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    act(path)
}
