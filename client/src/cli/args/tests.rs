use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, Parser};

use super::values::{BytesPerSecond, Compression, Size};
use super::*;
use crate::cli::cmd_restore::Overwrite;
use crate::maintain::Subset;

fn parse(line: &str) -> Cli {
    Cli::try_parse_from(std::iter::once("backup").chain(line.split_whitespace()))
        .unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn fails(line: &str) {
    let words = std::iter::once("backup").chain(line.split_whitespace());
    assert!(Cli::try_parse_from(words).is_err(), "{line}");
}

#[test]
fn the_definitions_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_help_ends_with_an_example() {
    let top = Cli::command();
    for command in std::iter::once(&top).chain(top.get_subcommands()) {
        let text = command.get_after_help().unwrap_or_default().to_string();
        assert!(text.contains("Example"), "{}", command.get_name());
        assert!(text.contains("\n  backup "), "{}", command.get_name());
    }
}

/// Secrets come from the environment, files, commands or a prompt: never from an argument.
#[test]
fn no_option_takes_a_secret() {
    for command in Cli::command().get_subcommands() {
        for arg in command.get_arguments() {
            let takes_text = arg.get_action().takes_values();
            let name = arg.get_id().as_str();
            let secret = ["pass", "code", "secret", "key"];
            let named = secret.iter().any(|word| name.contains(word));
            assert!(!(takes_text && named), "{} {name}", command.get_name());
        }
    }
}

#[test]
fn global_options_stand_anywhere() {
    for line in ["--json -vv --yes version", "version --json -vv --yes"] {
        let cli = parse(line);
        assert_eq!(cli.global.voice(), Voice { json: true, level: 2 });
        assert!(cli.global.yes);
    }
    assert_eq!(parse("-q version").global.voice().level, -1);
    fails("-q -v version");
    fails("--profile ../x version");
    let cli = parse("-r file:///v version");
    assert_eq!(cli.global.vault.as_deref(), Some("file:///v"));
    let cli = parse("--repo file:///v version");
    assert_eq!(cli.global.vault.as_deref(), Some("file:///v"));
}

#[test]
fn run_takes_every_documented_option() {
    let cli = parse(
        "run /a /b --set s -e *.x --exclude *.y --exclude-file f --iexclude *.Z --exclude-caches \
         --exclude-if-present .nobackup:hd --exclude-larger-than 10M --git-ignore -x \
         --files-from list --tag a,b --tag c -n -f --skip-if-unchanged --limit-upload 500 \
         --limit-download 2M --host h --compression max",
    );
    let Command::Run(run) = cli.command else { panic!("not run") };
    assert_eq!(run.paths, ["/a", "/b"]);
    assert_eq!(run.excludes.exclude, ["*.x", "*.y"]);
    assert_eq!(run.excludes.iexclude, ["*.Z"]);
    assert_eq!(run.excludes.exclude_larger_than, Some(Size(10 << 20)));
    assert_eq!(run.excludes.exclude_if_present, [".nobackup:hd"]);
    assert!(run.excludes.one_file_system && run.excludes.git_ignore);
    assert_eq!(run.label.tag.len(), 2);
    assert_eq!(run.label.host.as_deref(), Some("h"));
    assert!(run.how.dry_run && run.how.force && run.how.skip_if_unchanged);
    assert_eq!(run.how.limit_upload, Some(BytesPerSecond(512_000)));
    assert_eq!(run.how.limit_download, Some(BytesPerSecond(2 << 20)));
    assert_eq!(run.how.compression, Some(Compression::Level(19)));
    assert!(!run.stdin.reads_stdin());
}

#[test]
fn run_reads_standard_input_or_a_command() {
    let stdin = |line: &str| match parse(line).command {
        Command::Run(run) => (run.stdin.reads_stdin(), run.paths),
        other => panic!("{other:?}"),
    };
    let none: Vec<OsString> = Vec::new();
    assert_eq!(stdin("run --stdin"), (true, none.clone()));
    assert_eq!(stdin("run --stdin-filename db.sql"), (true, none));
    let (reads, command) = stdin("run --stdin-from-command --stdin-filename x -- pg_dump -v shop");
    assert_eq!((reads, command.len()), (false, 3));
    fails("run --stdin /a");
    fails("run --stdin-from-command");
    fails("run --stdin --stdin-from-command x");
}

#[test]
fn restore_wants_a_target_or_in_place() {
    let Command::Restore(restore) = parse(
        "restore latest~1:/home -t /t -i *.a --include *.b -e *.c --overwrite if-newer --delete \
         -n --verify --ownership-by-name --preserve-privileged --host h --tag a",
    )
    .command
    else {
        panic!("not restore")
    };
    assert_eq!(restore.snapshot.snapshot, "latest~1");
    assert_eq!(restore.snapshot.path, Some(PathBuf::from("/home")));
    assert_eq!(restore.overwrite, Some(Overwrite::IfNewer));
    assert_eq!(restore.include.len(), 2);
    let Command::Restore(restore) = parse("restore --in-place").command else {
        panic!("not restore")
    };
    assert_eq!(restore.snapshot, values::SnapshotPath::default());
    assert_eq!(restore.overwrite, None);
    fails("restore latest");
    fails("restore latest --in-place --target /t");
    fails("restore latest --target /t --overwrite sometimes");
}

/// restic's letters: `forget` counts hours by `-H`, everything else names a host by it.
#[test]
fn letters_are_those_of_restic() {
    let Command::Forget(forget) =
        parse("forget -l 1 -H 2 -d 3 -w 4 -m 5 -y 6 --host h --tag a,b --tag c").command
    else {
        panic!("not forget")
    };
    let rules = forget.keep.rules().unwrap();
    let counts = [rules.last, rules.hourly, rules.daily, rules.weekly, rules.monthly, rules.yearly];
    assert_eq!((counts, forget.filter.host), ([1, 2, 3, 4, 5, 6], vec!["h".to_owned()]));
    assert_eq!(forget.filter.tag.len(), 2);
    let Command::Snapshots(snapshots) = parse("snapshots -H h").command else {
        panic!("not snapshots")
    };
    assert_eq!(snapshots.filter.host, ["h"]);
    fails("forget -H h");
}

#[test]
fn the_other_commands() {
    parse("init");
    parse("init --local /v --kit k.txt --name n --passphrase-anywhere");
    parse("init --local /v --allow-weak-passphrase --yes");
    fails("init LINK --local /v");
    fails("init --passphrase-anywhere --allow-weak-passphrase");
    parse("connect unseen://h:1/a?pin=x --replaces old --backup-only --name n");
    parse("connect --local /v");
    fails("connect unseen://h:1/a --local /v");
    parse("snapshots --latest 3 --device d --set s --path /a latest");
    fails("snapshots --latest 0");
    parse("ls");
    parse("ls -l -R 40dc:/x");
    parse("dump latest /a/b");
    fails("dump latest");
    fails("check --read-data --read-data-subset 1/2");
    let Command::Check(check) = parse("check --read-data-subset 5%").command else {
        panic!("not check")
    };
    assert_eq!(check.read_data_subset, Some(Subset::Millionths(50_000)));
    fails("");
}
