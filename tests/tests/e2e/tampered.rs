//! A restore over a tree that was tampered with: all is as in the snapshot.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use unseen_tests::trees::{self, build};
use unseen_tests::{is_root, world};

/// Everything that the tampering is about. Files of equal content have equal times, too.
fn build_tree(source: &Path) {
    build::links(&source.join("links"));
    build::modes(&source.join("modes"));
    build::attributes(&source.join("attributes"));
    build::holes(&source.join("holes"));
    if is_root() {
        build::owners(&source.join("owners"));
    }
    for name in ["plain", "closed", "to link", "to folder", "xattrs", "acl", "content", "capable"] {
        build::write(source, name, format!("this is {name}"));
    }
    for name in ["twin a", "twin b", "pair 1a", "pair 2a"] {
        build::write(source, name, "the same content");
    }
    fs::hard_link(source.join("pair 1a"), source.join("pair 1b")).unwrap();
    fs::hard_link(source.join("pair 2a"), source.join("pair 2b")).unwrap();
    build::write(source, "folder to file/deep/in", "x");
    build::write(source, "folder to link/in", "x");
    build::write(source, "zeros", vec![0; 3 << 20]);
    symlink("plain", source.join("link")).unwrap();
    symlink("plain", source.join("link to file")).unwrap();
    shell(source, "mkfifo pipe; chmod 444 closed");
    shell(source, "setfattr -n user.mark -v right xattrs; setfattr -n user.gone -v x xattrs");
    shell(source, "setfacl -m u:12345:r-- acl");
    for entry in fs::read_dir(source).unwrap() {
        build::set_mtime(&entry.unwrap().path(), 1_000_000, 5);
    }
}

fn shell(folder: &Path, words: &str) {
    trees::tool("sh", &["-ec", &format!("cd '{}'; {words}", folder.display())]);
}

/// Changes what a path has, and leaves its time.
fn tamper(source: &Path) {
    // Attributes and ACLs: added, changed, removed.
    shell(source, "setfattr -n user.foreign -v 1 plain twin\\ a 'pair 1a' 'links/first' links .");
    shell(source, "setfattr -n user.mark -v wrong xattrs; setfattr -x user.gone xattrs");
    shell(source, "chmod u+w closed; setfattr -n user.foreign -v 1 closed; chmod 444 closed");
    shell(source, "setfacl -m u:4711:rwx,g::---,m::rwx plain links/sub pipe");
    shell(
        source,
        "setfacl -b acl attributes/acl attributes/folder; setfacl -m u:1:- attributes/folder",
    );
    shell(source, "setfacl -d -m u:4711:rwx links modes");
    // Modes and owners.
    shell(source, "chmod 777 'twin b' 'modes/file 640' 'modes/folder 700'; chmod 000 content");
    if is_root() {
        shell(
            source,
            "chown 4711:4711 modes links/first 'modes/folder 700'; chown -h 7:7 link pipe",
        );
        shell(source, "chown 0:0 owners/owned; chown 12345:12345 'owners/owned folder'");
        shell(source, "setcap cap_net_raw+ep capable");
        shell(source, "setfattr -n security.ours -v 1 'twin a'");
    }
    // Content of the same length and time.
    fs::write(source.join("content"), "THIS IS content").unwrap();
    build::set_mtime(&source.join("content"), 1_000_000, 5);
    // Names: a copy in place of one, unrelated ones made one, two groups made one.
    shell(source, "cp -p links/first x; mv x links/second");
    for (first, second) in [("twin a", "twin b"), ("pair 1a", "pair 2a"), ("pair 1a", "pair 2b")] {
        fs::remove_file(source.join(second)).unwrap();
        fs::hard_link(source.join(first), source.join(second)).unwrap();
    }
    // One kind of thing in place of another.
    shell(source, "rm 'to link' 'to folder' 'link to file' pipe; ln -s plain 'to link'");
    shell(source, "mkdir -p 'to folder/with more'; echo x > 'to folder/with more/x'");
    shell(
        source,
        "rm -r 'folder to file' 'folder to link'; echo x > 'folder to file'; echo x > pipe",
    );
    shell(source, "ln -s links 'folder to link'; echo x > 'link to file'; ln -sfn elsewhere link");
    // Holes filled, and holes where there were none.
    shell(source, "cp --sparse=never -p 'holes/hole in front' x; mv x 'holes/hole in front'");
    shell(source, "cp --sparse=always -p zeros x; mv x zeros");
    // What was not there.
    shell(source, "mkdir -p extra/deep; echo x > extra/deep/x; echo x > links/sub/extra");
}

#[test]
fn a_restore_over_a_tree_that_was_tampered_with() {
    let world = world!();
    let (machine, _) = world.local();
    let source = world.folder("source");
    build_tree(&source);
    let pristine = world.path("pristine");
    trees::copy(&source, &pristine);
    let before = trees::capture(&source);
    machine.back_up(&source, &[]);
    tamper(&source);
    let holes = source.join("holes/hole in front");
    assert!(holes.metadata().unwrap().blocks() * 512 >= 16 << 20, "it was to be filled");
    assert_ne!(trees::differences(&before, &trees::capture(&source)), "");
    let ran = machine.ok(&["restore", "latest", "--in-place", "--yes", "--delete", "--verify"]);
    if is_root() {
        // Nobody made it, and nobody but its maker knows what it is for.
        shell(&source, "setfattr -x security.ours 'twin a' || true");
    }
    assert_eq!(trees::rsync_differences(&pristine, &source), "", "{ran}");
    trees::assert_same(&before, &trees::capture(&source));
    let attributes = |folder: &Path| {
        let words = "find . | sort | xargs -d '\\n' getfattr -h -d -m - --absolute-names";
        trees::tool("sh", &["-c", &format!("cd '{}' && {words}", folder.display())])
    };
    assert_eq!(attributes(&pristine), attributes(&source));
    // Nothing is left to do, and nothing is touched that is right.
    let changed = |path: &str| {
        let meta = fs::symlink_metadata(source.join(path)).unwrap();
        (meta.ino(), meta.ctime(), meta.ctime_nsec())
    };
    let paths = ["plain", "closed", "acl", "pair 1b", "link", "pipe", "links", "", "capable"];
    let last = paths.map(changed);
    let told = machine.ok(&["restore", "latest", "--in-place", "--yes", "--delete"]).text();
    assert!(told.contains("restored 0 files"), "{told}");
    assert_eq!(paths.map(changed), last);
    trees::assert_same(&before, &trees::capture(&source));
}
