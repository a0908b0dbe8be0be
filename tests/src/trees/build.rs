//! Builds trees with everything that is hard to keep.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{self as sys, AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps};

use super::tool;

/// A name from bytes.
pub fn name(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

/// Bytes that do not compress and differ for each seed, the same every time.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// Writes a file; its folders are made.
pub fn write(root: &Path, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

/// Sets the modification time of this very thing, not of what it leads to.
pub fn set_mtime(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    sys::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Changes permissions.
pub fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Files of every size that matters, and folders.
pub fn contents(root: &Path) {
    write(root, "empty", "");
    write(root, "one", "1");
    write(root, "text", "a line that comes again and again\n".repeat(3000));
    write(root, "noise", noise(1, 3_500_000));
    write(root, "noise again", noise(1, 3_500_000));
    for n in 0..120 {
        write(root, format!("many/{n:03}/small"), format!("file {n}\n").repeat(n));
    }
    fs::create_dir_all(root.join("empty folder/within/another")).unwrap();
}

/// Holes at the start, in the middle and at the end, and a file of nothing else.
pub fn holes(root: &Path) -> Vec<PathBuf> {
    fs::create_dir_all(root).unwrap();
    let make = |path: &str, length: u64, data: &[(u64, usize)]| {
        let path = root.join(path);
        let mut file = File::create(&path).unwrap();
        for &(offset, size) in data {
            file.seek(SeekFrom::Start(offset)).unwrap();
            file.write_all(&noise(offset, size)).unwrap();
        }
        file.set_len(length).unwrap();
        path
    };
    vec![
        make("hole only", 24 << 20, &[]),
        make("hole in front", (16 << 20) + 70_000, &[(16 << 20, 70_000)]),
        make("hole at the end", 32 << 20, &[(0, 70_000)]),
        make("holes between", 48 << 20, &[(0, 8192), (20 << 20, 1), (40 << 20, 300_000)]),
    ]
}

/// Names that programs get wrong.
pub fn names(root: &Path) {
    let longest = [b'x'; 255];
    for bad in [
        &b"\xff\xfe\x80 not UTF-8"[..],
        b"line\nfeed",
        b"tab\tand \x01\x1b[31m control",
        b"-rf",
        b"--help",
        b" blank ",
        b"*?[a]{b}",
        b"back\\slash",
        b"'single' \"double\" $HOME `x`",
        b"...",
        b"..x",
        b"CON.txt",
        b"\xc3\xa9 composed",
        b"e\xcc\x81 decomposed",
        &longest,
    ] {
        write(root, Path::new(name(bad)), bad);
        write(root, Path::new("folders").join(name(bad)).join(name(bad)), "x");
    }
}

/// Symbolic and hard links.
pub fn links(root: &Path) {
    write(root, "first", "the same file three times");
    write(root, "sub/other", "two names");
    fs::hard_link(root.join("first"), root.join("second")).unwrap();
    fs::hard_link(root.join("first"), root.join("sub/third")).unwrap();
    fs::hard_link(root.join("sub/other"), root.join("zz other")).unwrap();
    symlink("first", root.join("to a file")).unwrap();
    symlink("sub", root.join("to a folder")).unwrap();
    symlink("../../nowhere", root.join("dangling")).unwrap();
    symlink("/etc/passwd", root.join("absolute")).unwrap();
    symlink(name(b"\xff\x01"), root.join("not UTF-8")).unwrap();
    symlink("l".repeat(4000), root.join("long")).unwrap();
    fs::hard_link(root.join("dangling"), root.join("linked link")).unwrap();
    set_mtime(&root.join("to a file"), 1_234_567_890, 123_456_789);
    sys::mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    fs::hard_link(root.join("fifo"), root.join("fifo again")).unwrap();
}

/// Permissions without privilege.
pub fn modes(root: &Path) {
    // What nobody may read only root can save.
    let closed = crate::is_root().then_some(0o000);
    for mode in closed.into_iter().chain([0o400, 0o444, 0o640, 0o666, 0o777]) {
        let path = write(root, format!("file {mode:o}"), format!("{mode:o}"));
        chmod(&path, mode);
    }
    for mode in [0o700, 0o755, 0o777, 0o1777] {
        let path = root.join(format!("folder {mode:o}"));
        write(&path, "within", "x");
        chmod(&path, mode);
    }
    let closed = root.join("closed folder");
    write(&closed, "within/it", "x");
    chmod(&closed, 0o500);
}

/// Times: before 1970, far ahead, with nanoseconds; of folders, too. Call it last.
pub fn times(root: &Path) {
    for (at, seconds, nanos) in [
        ("before", -86_400, 999_999_999),
        ("zero", 0, 0),
        ("nano", 1, 1),
        ("later", 4_102_444_800, 500_000_001),
    ] {
        let path = write(root, format!("{at}/file"), at);
        set_mtime(&path, seconds, nanos);
        set_mtime(&root.join(at), seconds, nanos);
    }
}

/// Extended attributes and ACLs, of files and folders.
pub fn attributes(root: &Path) {
    let file = write(root, "attributes", "x");
    let folder = root.join("folder");
    write(&folder, "in", "x");
    let set = |path: &Path, name: &str, value: &[u8]| {
        sys::setxattr(path, name, value, sys::XattrFlags::empty()).unwrap();
    };
    for path in [&file, &folder] {
        set(path, "user.empty", b"");
        set(path, "user.bytes", b"\x00\xff\n binary");
        set(path, "user.longer", &noise(7, 1500));
    }
    let with_acl = write(root, "acl", "x");
    let acl = |words: &[&str], path: &Path| {
        let mut words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        words.push(path.as_os_str());
        tool("setfacl", &words);
    };
    acl(&["-m", "u:12345:rwx,g:54321:r--,m::rwx"], &with_acl);
    acl(&["-m", "u:12345:r-x"], &folder);
    acl(&["-d", "-m", "u:12345:rwx,g::r--"], &folder);
}

/// What only root can make, without danger to others: owners.
pub fn owners(root: &Path) {
    let file = write(root, "owned", "x");
    let folder = root.join("owned folder");
    write(&folder, "in", "x");
    symlink("owned", root.join("owned link")).unwrap();
    for path in [&file, &folder, &root.join("owned link")] {
        std::os::unix::fs::lchown(path, Some(12_345), Some(54_321)).unwrap();
    }
}

/// What a restore brings back only on request: setuid, capabilities, devices, trusted attributes.
pub fn privileged(root: &Path) {
    for mode in [0o4755, 0o2755, 0o6711] {
        let path = write(root, format!("program {mode:o}"), "#!/bin/sh\n");
        chmod(&path, mode);
    }
    let folder = root.join("setgid folder");
    write(&folder, "in", "x");
    chmod(&folder, 0o2775);
    let capable = write(root, "capable", "#!/bin/sh\n");
    tool("setcap", &["cap_net_raw+ep".as_ref(), capable.as_os_str()]);
    let node = |path: &str, kind: FileType, major: u32, minor: u32| {
        let device = sys::makedev(major, minor);
        let mode = Mode::from_raw_mode(0o660);
        sys::mknodat(CWD, root.join(path), kind, mode, device).unwrap();
    };
    node("null", FileType::CharacterDevice, 1, 3);
    node("loop", FileType::BlockDevice, 7, 99);
    node("large numbers", FileType::BlockDevice, 259, 70_000);
    let file = write(root, "trusted", "x");
    sys::setxattr(&file, "trusted.mark", b"v", sys::XattrFlags::empty()).unwrap();
    let link = root.join("trusted link");
    symlink("trusted", &link).unwrap();
    sys::lsetxattr(&link, "trusted.mark", b"l", sys::XattrFlags::empty()).unwrap();
}

/// Folders so deep that the path is longer than `PATH_MAX`, with a file at the end.
pub fn deep(root: &Path) {
    fs::create_dir_all(root).unwrap();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut folder = sys::open(root, flags, Mode::empty()).unwrap();
    for level in 0..24 {
        let name = format!("{level:02}{}", "d".repeat(248));
        sys::mkdirat(&folder, &name, Mode::from_raw_mode(0o755)).unwrap();
        folder = sys::openat(&folder, &name, flags, Mode::empty()).unwrap();
    }
    let create = OFlags::WRONLY | OFlags::CREATE;
    let file = sys::openat(&folder, "bottom", create, Mode::from_raw_mode(0o644)).unwrap();
    File::from(file).write_all(b"six thousand bytes of path").unwrap();
}
