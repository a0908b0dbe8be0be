use serde_json::{Value, json};

use super::*;

/// What the program prints and returns for a command line that clap refuses.
fn refused(line: &[&str]) -> (Exit, String, String) {
    let args: Vec<OsString> = ["backup"].iter().chain(line).map(OsString::from).collect();
    let error = Cli::try_parse_from(&args).unwrap_err();
    let voice = Voice { json: wants_json(&args), level: 0 };
    let (ui, seen) = Ui::captured(voice);
    let exit = conclude(&ui, refuse(&ui, &error));
    (exit, seen.out(), seen.err())
}

#[test]
fn a_name_of_another_program_gets_ours() {
    let (exit, out, err) = refused(&["backup", "/home"]);
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    assert_eq!(err, "error: there is no command `backup`\nhint: here it is `backup run PATH…`\n");
    let (exit, _, err) = refused(&["--json", "mount"]);
    assert_eq!(exit, Exit::Usage);
    assert_eq!(
        serde_json::from_str::<Value>(&err).unwrap(),
        json!({
            "message_type": "exit_error",
            "code": 2,
            "message": "there is no command `mount`",
            "hint": "it is not in this version and comes later",
        })
    );
}

#[test]
fn usage_errors_are_exit_2_in_text_and_json() {
    let (exit, out, err) = refused(&["restore"]);
    assert_eq!((exit, out.as_str()), (Exit::Usage, ""));
    assert!(err.contains("--target <DIR>"), "{err}");
    let (exit, _, err) = refused(&["restore", "--json", "--nonsense"]);
    assert_eq!(exit, Exit::Usage);
    let value: Value = serde_json::from_str(&err).unwrap();
    assert_eq!(value["message"], "unexpected argument '--nonsense' found");
}

#[test]
fn a_typing_error_gets_a_suggestion() {
    let (exit, _, err) = refused(&["snapshot"]);
    assert_eq!(exit, Exit::Usage);
    assert!(err.contains("snapshots"), "{err}");
}

#[test]
fn help_goes_to_standard_output() {
    let (exit, out, err) = refused(&["run", "--help"]);
    assert_eq!((exit, err.as_str()), (Exit::Done, ""));
    assert!(out.contains("--exclude-larger-than"), "{out}");
}

#[test]
fn json_is_recognised_before_the_arguments_of_a_command() {
    let args = |line: &[&str]| line.iter().map(OsString::from).collect::<Vec<_>>();
    assert!(wants_json(&args(&["backup", "ls", "--json"])));
    assert!(!wants_json(&args(&["backup", "run", "--", "--json"])));
}

#[test]
fn every_command_answers() {
    let (ui, seen) = Ui::captured(Voice::default());
    let ui = Arc::new(ui);
    let terminal = env::Answers::nobody();
    let environment = env::FixedEnv::default();
    let cli = Cli::try_parse_from(["backup", "version"]).unwrap();
    let context = Context { ui: &ui, global: &cli.global, env: &environment, terminal: &terminal };
    let exit = conclude(&ui, dispatch(&context, &cli.command));
    assert_eq!(exit, Exit::Done);
    assert!(seen.out().starts_with("backup 0."), "{}", seen.out());
}
