//! One file out of many, on a machine that has never seen the vault.

use std::fs;
use std::path::Path;

use unseen_tests::world;

/// Files of a batch, each with a content of its own: a table of contents of 64 KiB.
const FILES: usize = 1000;
/// Six tables are worth a map, so after nineteen there is one that lacks little.
const BATCHES: usize = 19;
/// What the tables of all batches have at least.
const TABLES: usize = BATCHES * (64 * 1024 + 1245);

fn content(batch: usize, file: usize) -> String {
    format!("file {file} of {batch}")
}

fn fill(source: &Path, batch: usize) {
    let folder = source.join(batch.to_string());
    fs::create_dir_all(&folder).unwrap();
    for file in 0..FILES {
        fs::write(folder.join(file.to_string()), content(batch, file)).unwrap();
    }
}

#[test]
fn a_new_machine_fetches_a_few_tables_of_contents_for_one_file() {
    let world = world!();
    let (proxy, server) = world.overheard();
    let machine = world.machine("home");
    let kit = machine.init_remote(&server.invite(&[]));
    let source = world.folder("source");
    for batch in 0..BATCHES {
        fill(&source, batch);
        machine.back_up(&source, &[]);
    }

    let fetched = |name: &str, words: &[&str]| {
        let machine = world.machine(name).with("BACKUP_RECOVERY_CODE", &kit.code);
        machine.ok(&["connect", &kit.address]);
        let before = proxy.received().len();
        machine.ok(words);
        proxy.received().len() - before
    };
    let (file, target) = (source.join("3/77"), world.folder("restored"));
    let named = format!("latest:{}", file.display());
    let one = fetched("new", &["restore", &named, "--target", target.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(target.join("77")).unwrap(), content(3, 77));
    assert!(one < TABLES * 2 / 3, "{one} bytes; the tables alone have {TABLES}");
    let listed = fetched("lists", &["ls", &format!("latest:{}", source.join("5").display())]);
    assert!(listed < TABLES * 2 / 3, "{listed} bytes; the tables alone have {TABLES}");

    let all = world.folder("all");
    let whole = fetched("all", &["restore", "latest", "--target", all.to_str().unwrap()]);
    assert!(whole > TABLES, "{whole} bytes are fewer than the tables have: {TABLES}");
}
