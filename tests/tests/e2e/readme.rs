//! What the README says is done, to the letter.

use std::path::Path;
use std::process::Command;

use unseen_tests::trees::{self, build};
use unseen_tests::{Kit, programs, world};

const README: &str = include_str!("../../../README.md");

/// The lines of the code block after this heading.
fn block(heading: &str) -> Vec<&'static str> {
    let (_, after) = README
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("README.md has no heading {heading:?}"));
    let block = after.split("```").nth(1).expect("a code block");
    block.lines().skip(1).filter(|line| !line.is_empty()).collect()
}

/// The first command, with the program that was built for the tests in the place of `cargo run`.
#[test]
fn the_first_command_backs_up_and_says_how_to_restore() {
    let line = block("Try it").join("\n");
    let cargo = "cargo run --release --bin backup --";
    assert_eq!(line.matches(cargo).count(), 1, "{line}");
    let world = world!();
    let machine = world.machine("home").without_secrets();
    let source = world.folder("clone/docs");
    build::contents(&source);
    let wanted = trees::capture(&source);
    let program = programs!().backup;
    let line = line.replace(cargo, program.to_str().unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-ec", &line]).env_clear().env("HOME", &machine.home);
    shell.current_dir(source.parent().expect("the clone"));
    let output = shell.env("PATH", std::env::var_os("PATH").unwrap()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}\n{error}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.lines().any(|line| line.starts_with("snapshot ") && line.ends_with(" saved")));

    let passphrase = line.split('\'').nth(1).expect("the passphrase in quotes");
    let owner = machine.clone().with("BACKUP_PASSPHRASE", passphrase);
    owner.restores_to("latest", &source, &wanted);
    let kit = Kit::read(&machine.home.join("unseen-recovery-kit.txt"));
    let new = world.machine("new").with("BACKUP_RECOVERY_CODE", &kit.code);
    new.ok(&["connect", &kit.address]);
    new.restores_to("latest", &source, &wanted);
}

/// The second command is the one that runs this test.
#[test]
fn the_second_command_runs_the_tests() {
    assert_eq!(block("Test it"), ["cargo test --workspace"]);
    let ci = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(".ci/run");
    let ci = std::fs::read_to_string(ci).unwrap();
    assert!(ci.contains("cargo test --workspace"), "CI runs the same");
}
