//! What the operating system says about this process and its disk.

use std::path::Path;

use rustix::fs::statvfs;
use serde::Serialize;

/// Room on the disk of the data folder, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Disk {
    pub(crate) free: u64,
    pub(crate) size: u64,
}

impl Disk {
    /// `None` if nobody knows.
    pub(crate) fn of(folder: &Path) -> Option<Self> {
        let found = statvfs(folder).ok()?;
        Some(Self {
            free: found.f_bavail.saturating_mul(found.f_frsize),
            size: found.f_blocks.saturating_mul(found.f_frsize),
        })
    }
}

/// Bytes of memory that this process has in use.
pub(super) fn resident() -> Option<u64> {
    resident_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn resident_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_asked() {
        let disk = Disk::of(Path::new("/")).unwrap();
        assert!(disk.free <= disk.size && disk.size > 0);
        assert_eq!(Disk::of(Path::new("/nowhere")), None);
        assert!(resident().is_none_or(|bytes| bytes > 100_000));
        assert_eq!(resident_in("VmHWM:\t 9 kB\nVmRSS:\t  12 kB\n"), Some(12 * 1024));
        assert_eq!(resident_in("VmRSS:\t 12\n"), None);
    }
}
