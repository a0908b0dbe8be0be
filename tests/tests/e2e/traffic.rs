//! What crosses the network: of a whole restore little more than what is stored, of a run that finds
//! nothing new nothing but the way in.

use std::path::Path;

use unseen_tests::trees::{self, build};
use unseen_tests::world;

const FOLDERS: u64 = 24;
/// Files of a folder that no other has, and files that all folders have.
const OWN: u64 = 40;
const SAME: u64 = 8;

/// Packs of small files: beside what is its own each folder has what the first one has.
fn fill(source: &Path) {
    for folder in 0..FOLDERS {
        for file in 0..OWN + SAME {
            let seed = if file < OWN { folder * OWN + file } else { 1_000_000 + file };
            let length = usize::try_from(20_000 + 997 * (seed % 41)).unwrap();
            build::write(source, format!("{folder:02}/{file:02}"), build::noise(seed, length));
        }
    }
}

/// Methods and paths of the requests in what was sent over HTTP/1.1. A body may end on the line of
/// the next request.
fn requests(sent: &[u8]) -> Vec<String> {
    let lines = sent.split(|byte| *byte == b'\n').map(String::from_utf8_lossy);
    let first = lines.filter_map(|line| {
        let (before, path) = line.trim_end().strip_suffix(" HTTP/1.1")?.rsplit_once(' ')?;
        let method = ["GET", "POST", "PUT", "DELETE"].into_iter().find(|m| before.ends_with(m));
        Some(format!("{} {path}", method.unwrap_or(before)))
    });
    first.collect()
}

#[test]
fn a_whole_restore_fetches_what_is_stored_once_and_an_unchanged_run_sends_nothing() {
    let world = world!();
    let (proxy, server) = world.overheard();
    let machine = world.machine("home");
    machine.init_remote(&server.invite(&[]));
    let source = world.folder("source");
    fill(&source);
    machine.back_up(&source, &[]);
    let packs = trees::packs(&server.data);
    let stored: u64 = packs.iter().map(|(_, length)| length).sum();
    assert!(packs.len() > 2, "{packs:?}");

    let again = machine.back_up(&source, &[]);
    assert_eq!(again.number("data_uploaded"), 0);
    assert_eq!(trees::packs(&server.data), packs, "an unchanged tree needs no pack");
    let before = proxy.sent().len();
    machine.ok(&["run", "--skip-if-unchanged", source.to_str().unwrap()]);
    let sent = &proxy.sent()[before..];
    let (asked, login) = (requests(sent), ["POST /v1/auth/challenge", "POST /v1/auth/session"]);
    assert!(login.iter().all(|one| asked.iter().any(|request| request == one)), "{asked:?}");
    for request in asked {
        assert!(request.starts_with("GET ") || login.contains(&request.as_str()), "{request}");
    }
    assert!(sent.len() < 8 * 1024, "{} bytes", sent.len());

    // Nothing of the vault is on this machine but what a backup leaves there.
    let before = proxy.received().len();
    let target = world.folder("restored");
    machine.restore("latest", &target, &[]);
    let fetched = u64::try_from(proxy.received().len() - before).unwrap();
    trees::assert_same(
        &trees::capture(&trees::beneath(&target, &source)),
        &trees::capture(&source),
    );
    assert!(fetched >= stored * 9 / 10, "{fetched} bytes, and stored are {stored}");
    assert!(fetched * 100 <= stored * 105, "{fetched} bytes, and stored are {stored}");
}
