//! The command line, case by case: tests/cli holds what is typed and what comes back.

use unseen_tests::world;

/// In none of these cases is anything made: home is a place where nothing can be made.
#[test]
fn cases() {
    let programs = unseen_tests::programs!();
    trycmd::TestCases::new()
        .register_bin("backup", programs.backup)
        .register_bin("backup-server", programs.server)
        .case("tests/cli/*.toml");
}

/// Whatever is typed, nobody sees a panic.
#[test]
fn odd_arguments_never_panic() {
    let world = world!();
    let machine = world.machine("home");
    let long = "x".repeat(100_000);
    for words in [
        &["run", ""][..],
        &["run", "--set", ""],
        &["run", "--exclude-larger-than", "99999999999999999999E", "."],
        &["run", "-e", "[", "."],
        &["run", "--tag", "\u{202e}", "."],
        &["restore", "latest~99999999999999999999", "--target", "t"],
        &["restore", "~", "--target", "/dev/null/x"],
        &["restore", &long, "--target", "t"],
        &["connect", "unseen://"],
        &["connect", "unseen://[::1/0?pin="],
        &["connect", "file://relative"],
        &["connect", &long],
        &["init", "file:///x", "--kit", "/nowhere/kit.txt"],
        &["init", "--local", "", "--kit", "k.txt"],
        &["ls", ":"],
        &["dump", "latest", ""],
        &["check", "--read-data-subset", "0/0"],
        &["forget"],
        &["forget", "latest", "--keep-last", "1"],
        &["forget", "--keep-last", "99999999999"],
        &["forget", "--keep-within", "9999999999999999999y"],
        &["policy", "set", "--grace", "99999999999999d"],
        &["undelete", ""],
        &["pin", ""],
        &["--profile", "../x", "run", "."],
        &["--vault", "\n", "run", "."],
        &["-r", "file:///proc/self/mem", "run", "."],
    ] {
        let ran = machine.run(words);
        assert!(ran.code.is_some_and(|code| code != 0 && code != 101), "{ran}");
        assert!(!ran.err.contains("panicked"), "{ran}");
    }
}

/// `--json` keeps its word when things go wrong, too: nothing but JSON on either output.
#[test]
fn json_is_json_on_both_outputs() {
    let world = world!();
    let machine = world.machine("home");
    let nothing = ["run", "--json", "/nowhere"];
    let lines = [
        &nothing[..],
        &["snapshots", "--json"],
        &["run", "--json"],
        &["--json", "prune"],
        &["--json", "run", "--wrong"],
    ];
    for words in lines {
        let ran = machine.run(words);
        assert_ne!(ran.code, Some(0), "{ran}");
        let last = ran.err.lines().last().unwrap_or_default();
        let error: serde_json::Value =
            serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {ran}"));
        assert_eq!(error["message_type"], "exit_error");
        assert_eq!(error["code"].as_i64(), ran.code.map(i64::from), "{ran}");
        ran.json_lines();
    }
}
