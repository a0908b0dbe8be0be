//! Which file systems do not tell of all changes, by the name of their kind.

/// Names of kinds that other machines can write to as well.
const NETWORK: [&str; 28] = [
    "9p",
    "acfs",
    "afpfs",
    "macfuse",
    "osxfuse",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "davfs",
    "gfs2",
    "glusterfs",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "orangefs",
    "prl_fs",
    "smb3",
    "smbfs",
    "vboxsf",
    "virtiofs",
    "vmhgfs",
    "webdav",
    "wslfs",
];

/// Kinds in user space of which it is known that all changes come through this machine.
const LOCAL_FUSE: [&str; 9] = [
    "fuse.bindfs",
    "fuse.cryfs",
    "fuse.encfs",
    "fuse.exfat",
    "fuse.fuse-overlayfs",
    "fuse.gocryptfs",
    "fuse.mergerfs",
    "fuse.ntfs-3g",
    "fuse.securefs",
];

/// Whether changes on such a file system can come from elsewhere. Of one in user space that is
/// not known it is taken for granted: most of them are remote.
pub(super) fn is_network(kind: &str) -> bool {
    if kind == "fuse" || kind.starts_with("fuse.") {
        return !LOCAL_FUSE.contains(&kind);
    }
    NETWORK.contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_kinds_are_known_and_local_ones_are_left_alone() {
        for kind in ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.rclone", "fuse"] {
            assert!(is_network(kind), "{kind}");
        }
        for kind in ["ext4", "btrfs", "xfs", "zfs", "tmpfs", "fuseblk", "fuse.gocryptfs", "apfs"] {
            assert!(!is_network(kind), "{kind}");
        }
    }
}
