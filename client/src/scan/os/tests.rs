use super::*;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags};
use tempfile::TempDir;

use crate::scan::exclude::Listing;
use crate::scan::listing::Folder;

fn temp() -> (TempDir, Dir) {
    let folder = tempfile::tempdir().expect("a directory");
    let dir = Dir::open_root(folder.path()).expect("opens");
    (folder, dir)
}

fn name(bytes: &[u8]) -> Name {
    Name::new(bytes).expect("a name")
}

fn trouble<T: std::fmt::Debug>(result: io::Result<T>) -> ReadTrouble {
    ReadTrouble::of(&result.expect_err("refused"))
}

#[test]
fn every_kind_is_told_apart_in_listing_and_stat() {
    let (folder, dir) = temp();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("file"), b"12345").expect("file");
    std::fs::create_dir(at("directory")).expect("directory");
    symlink("nowhere/at all", at("symlink")).expect("symlink");
    rustix::fs::mkfifoat(CWD, at("fifo"), Mode::RUSR).expect("fifo");
    let _listener = std::os::unix::net::UnixListener::bind(at("socket")).expect("socket");
    let mut wanted = vec![
        ("directory", FileType::Directory),
        ("fifo", FileType::Fifo),
        ("file", FileType::File),
        ("socket", FileType::Socket),
        ("symlink", FileType::Symlink),
    ];
    let device = rustix::fs::makedev(1, 3);
    let char_device = rustix::fs::FileType::CharacterDevice;
    if rustix::fs::mknodat(CWD, at("zero"), char_device, Mode::RUSR, device).is_ok() {
        wanted.push(("zero", FileType::CharDevice));
        let stat = dir.stat(&name(b"zero")).expect("stat");
        assert_eq!(stat.rdev, DeviceNumber { major: 1, minor: 3 });
    }
    let names = dir.names().expect("names");
    let got: Vec<_> = names.iter().collect();
    for ((got_name, listed), (want_name, want)) in got.iter().zip(&wanted) {
        assert_eq!(got_name.as_bytes(), want_name.as_bytes());
        assert!([*want, FileType::Unknown].contains(listed));
        assert_eq!(dir.stat(got_name).expect("stat").file_type, *want);
    }
    assert_eq!(got.len(), wanted.len());
    assert_eq!(dir.names().expect("again").len(), wanted.len());
    assert_eq!(dir.read_link(&name(b"symlink")).expect("link"), b"nowhere/at all");
}

#[test]
fn stat_reports_mode_owner_and_nanoseconds() {
    let (folder, dir) = temp();
    let path = folder.path().join("f");
    std::fs::write(&path, vec![1; 10_000]).expect("file");
    std::fs::hard_link(&path, folder.path().join("g")).expect("link");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o1640)).expect("mode");
    let before_1970 = Timespec { tv_sec: -12_345, tv_nsec: 987_654_321 };
    let times = Timestamps { last_access: before_1970, last_modification: before_1970 };
    rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).expect("times");
    let stat = dir.stat(&name(b"f")).expect("stat");
    assert_eq!((stat.mode, stat.size, stat.nlink), (0o1640, 10_000, 2));
    assert_eq!(stat.uid, rustix::process::geteuid().as_raw());
    assert_eq!(stat.mtime, FileTime { seconds: -12_345, nanos: 987_654_321 });
    assert!(!stat.may_have_holes());
    let open = fstat(dir.open_file(&name(b"f")).expect("opens")).expect("stat");
    assert_eq!(open, stat);
    assert!(open.same_content(&stat));
    assert_eq!(stat.dev, dir.stat_self().expect("stat").dev);
    std::fs::write(&path, b"shorter").expect("rewritten");
    assert!(!dir.stat(&name(b"f")).expect("stat").same_content(&open));
}

#[test]
fn names_are_bytes() {
    let (folder, dir) = temp();
    let mut wanted: Vec<Vec<u8>> = vec![
        vec![b'x'; 255],
        b"\xff\xfe not utf-8 \x80".to_vec(),
        b"new\nline".to_vec(),
        b"\x1b]0;title\x07".to_vec(),
        b" ".to_vec(),
        b"-rf".to_vec(),
        b"...".to_vec(),
        b"\\".to_vec(),
    ];
    for bytes in &wanted {
        std::fs::write(folder.path().join(OsStr::from_bytes(bytes)), bytes).expect("file");
    }
    wanted.sort();
    let got: Vec<Vec<u8>> =
        dir.names().expect("names").iter().map(|(name, _)| name.as_bytes().to_vec()).collect();
    assert_eq!(got, wanted);
    for bytes in &wanted {
        let mut content = Vec::new();
        let mut file = dir.open_file(&name(bytes)).expect("opens");
        io::Read::read_to_end(&mut file, &mut content).expect("reads");
        assert_eq!(&content, bytes);
    }
}

#[test]
fn links_are_not_followed_and_pipes_not_waited_for() {
    let (folder, dir) = temp();
    symlink("/etc", folder.path().join("dir-link")).expect("link");
    symlink("/etc/passwd", folder.path().join("file-link")).expect("link");
    rustix::fs::mkfifoat(CWD, folder.path().join("fifo"), Mode::RUSR | Mode::WUSR).expect("fifo");
    assert_eq!(trouble(dir.open_dir(&name(b"dir-link"))), ReadTrouble::Replaced);
    assert_eq!(trouble(dir.open_file(&name(b"file-link"))), ReadTrouble::Replaced);
    assert_eq!(trouble(dir.open_dir(&name(b"fifo"))), ReadTrouble::Replaced);
    let fifo = dir.open_file(&name(b"fifo")).expect("opens at once");
    assert_eq!(fstat(fifo).expect("stat").file_type, FileType::Fifo);
    let rooted = Dir::open_root(&folder.path().join("dir-link")).expect("the root is followed");
    rooted.stat(&name(b"passwd")).expect("in /etc");
}

#[test]
fn what_vanishes_is_vanished() {
    let (folder, dir) = temp();
    std::fs::create_dir(folder.path().join("d")).expect("directory");
    std::fs::write(folder.path().join("f"), b"").expect("file");
    let below = dir.open_dir(&name(b"d")).expect("opens");
    assert_eq!(dir.names().expect("names").len(), 2);
    std::fs::remove_dir(folder.path().join("d")).expect("removed");
    std::fs::remove_file(folder.path().join("f")).expect("removed");
    assert_eq!(trouble(dir.stat(&name(b"f"))), ReadTrouble::Vanished);
    assert_eq!(trouble(dir.open_file(&name(b"f"))), ReadTrouble::Vanished);
    assert_eq!(trouble(dir.open_dir(&name(b"d"))), ReadTrouble::Vanished);
    assert_eq!(trouble(dir.read_link(&name(b"f"))), ReadTrouble::Vanished);
    assert_eq!(trouble(below.names()), ReadTrouble::Vanished);
    assert!(dir.xattrs_of(&name(b"f")).expect_err("gone").vanished());
}

#[test]
fn attributes_of_open_and_closed_things_agree() {
    let (folder, dir) = temp();
    let path = folder.path().join("f");
    std::fs::write(&path, b"").expect("file");
    assert_eq!(xattrs::xattrs_of_fd(dir.open_file(&name(b"f")).expect("opens")).expect("none"), []);
    let set =
        |name: &str, value: &[u8]| rustix::fs::lsetxattr(&path, name, value, XattrFlags::empty());
    if set("user.b", b"\0\xff").is_err() {
        return; // This file system knows no attributes.
    }
    set("user.a", &[3; 900]).expect("set");
    set("user.empty", b"").expect("set");
    let open = xattrs::xattrs_of_fd(dir.open_file(&name(b"f")).expect("opens")).expect("read");
    let wanted = [("user.a", vec![3; 900]), ("user.b", b"\0\xff".to_vec()), ("user.empty", vec![])]
        .map(|(name, value)| Xattr { name: name.as_bytes().to_vec(), value });
    assert_eq!(open, wanted);
    assert_eq!(dir.xattrs_of(&name(b"f")).expect("read"), wanted);
    rustix::fs::lsetxattr(folder.path(), "user.d", b"1", XattrFlags::empty()).expect("set");
    assert_eq!(dir.xattrs().expect("read").len(), 1);
}

#[test]
fn a_link_shows_its_own_attributes() {
    let (folder, dir) = temp();
    std::fs::write(folder.path().join("f"), b"").expect("file");
    symlink("f", folder.path().join("l")).expect("link");
    let link = folder.path().join("l");
    if rustix::fs::lsetxattr(&link, "trusted.t", b"link", XattrFlags::empty()).is_err() {
        return; // Only root may, and not on every file system.
    }
    let got = dir.xattrs_of(&name(b"l")).expect("read");
    assert_eq!(got, [Xattr { name: b"trusted.t".to_vec(), value: b"link".to_vec() }]);
    assert_eq!(dir.xattrs_of(&name(b"f")).expect("read"), []);
}

#[test]
fn paths_longer_than_the_kernel_takes() {
    let (_folder, top) = temp();
    let part = name(&[b'd'; 250]);
    let mut open = vec![top];
    for _ in 0..40 {
        let last = open.last().expect("the top");
        rustix::fs::mkdirat(last, part.as_os_str(), Mode::RWXU).expect("made");
        let next = last.open_dir(&part).expect("opens");
        open.push(next);
    }
    let deepest = open.last().expect("the deepest");
    assert!(deepest.names().expect("names").is_empty());
    symlink_in(deepest, "l");
    assert_eq!(deepest.read_link(&name(b"l")).expect("link"), b"t");
    assert_eq!(deepest.xattrs_of(&name(b"l")).expect("read"), []);
}

fn symlink_in(dir: &Dir, name: &str) {
    rustix::fs::symlinkat("t", dir, name).expect("made");
}

#[test]
fn a_user_reads_what_root_may_not_care_about() {
    let (folder, dir) = temp();
    std::fs::write(folder.path().join("secret"), b"x").expect("file");
    std::fs::write(folder.path().join("public"), b"x").expect("file");
    let mode = |name: &str, bits| {
        let permissions = std::fs::Permissions::from_mode(bits);
        std::fs::set_permissions(folder.path().join(name), permissions).expect("mode");
    };
    mode("secret", 0);
    mode("public", 0o644);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if running_as_root() {
                // Only this thread becomes nobody.
                let nobody = rustix::process::Uid::from_raw(65_534);
                rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("nobody");
                // Not the owner: the access time cannot be left alone, which must not matter.
                dir.open_file(&name(b"public")).expect("opens all the same");
            }
            assert_eq!(trouble(dir.open_file(&name(b"secret"))), ReadTrouble::Denied);
            assert_eq!(dir.stat(&name(b"secret")).expect("stat").mode, 0);
            assert_eq!(dir.xattrs_of(&name(b"secret")).expect("read"), []);
        });
    });
}

#[test]
fn reading_leaves_the_access_time_alone() {
    let (folder, dir) = temp();
    let path = folder.path().join("f");
    std::fs::write(&path, b"x").expect("file");
    let long_ago = Timespec { tv_sec: 1, tv_nsec: 0 };
    let times = Timestamps { last_access: long_ago, last_modification: long_ago };
    rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).expect("times");
    let mut file = dir.open_file(&name(b"f")).expect("opens");
    io::Read::read_to_end(&mut file, &mut Vec::new()).expect("reads");
    let accessed = std::fs::metadata(&path).and_then(|meta| meta.accessed()).expect("told");
    assert_eq!(accessed, std::time::UNIX_EPOCH + std::time::Duration::from_secs(1));
}

#[test]
fn a_directory_of_many_names() {
    let (folder, dir) = temp();
    let count = 5000;
    for number in 0..count {
        let path = folder.path().join(format!("name {:x} {number}", number * 7919 % 4096));
        std::fs::write(path, b"").expect("file");
    }
    let names = dir.names().expect("names");
    assert_eq!(names.len(), count);
    let all: Vec<_> = names.iter().collect();
    assert!(all.is_sorted_by_key(|(name, _)| name.clone()));
    let aside = tempfile::tempdir().expect("a directory");
    for memory in [10_000, 10_000_000] {
        let mut sorted = dir.sorted(Room { memory, folder: aside.path() }).expect("names");
        assert_eq!(sorted.in_memory().is_some(), memory > 1_000_000);
        let some = Folder { dir: &dir, names: sorted.in_memory() };
        assert!(some.has(b"name 0 0") && !some.has(b"name 0 1") && !some.has(b"."));
        let again: Vec<_> = std::iter::from_fn(|| sorted.take_next().expect("reads")).collect();
        assert_eq!(again, all);
    }
}

#[test]
fn the_limit_of_open_files_goes_as_high_as_it_may() {
    let raised = raise_fd_limit();
    let limit = rustix::process::getrlimit(Resource::Nofile);
    assert_eq!(limit.current.unwrap_or(u64::MAX), raised);
    assert!(raised >= limit.maximum.unwrap_or(NO_HARD_LIMIT));
    assert_eq!(raise_fd_limit(), raised);
}
