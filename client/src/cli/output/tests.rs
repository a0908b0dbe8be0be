use super::*;
use crate::cli::env::FixedEnv;
use crate::progress::During;

const JSON: Voice = Voice { json: true, level: 0 };
const QUIET: Voice = Voice { json: false, level: -1 };

/// An output that always fails in the same way.
struct Broken(io::ErrorKind);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn broken(kind: io::ErrorKind) -> Ui {
    Ui::with(
        Voice::default(),
        Surroundings::default(),
        Box::new(Broken(kind)),
        Box::new(io::sink()),
    )
}

fn problem() -> Problem {
    Problem {
        path: b"/a\xff\x1b".to_vec(),
        during: During::Archival,
        what: "permission denied".to_owned(),
    }
}

#[test]
fn results_and_messages_go_apart() {
    let (ui, seen) = Ui::captured(Voice::default());
    ui.line("a result");
    ui.status("working");
    ui.detail(1, || "detail".to_owned());
    ui.warn("careful");
    ui.problem(&problem());
    ui.error(&CliError::new(Exit::NoVault, "no vault").hint("run `backup init`"));
    ui.finish().unwrap();
    assert_eq!(seen.out(), "a result\n");
    assert_eq!(
        seen.err(),
        "working\nwarning: careful\nerror: /a\\xff\\x1b: permission denied\n\
         error: no vault\nhint: run `backup init`\n"
    );
}

#[test]
fn advice_is_two_lines_and_a_log_can_be_stamped() {
    let (ui, seen) = Ui::captured(Voice::default());
    ui.advise("careful", Some("look"));
    ui.stamp_messages(|| "noon".to_owned());
    ui.advise("careful", None);
    ui.status("working");
    ui.row("a\nb");
    ui.finish().unwrap();
    assert_eq!(seen.err(), "warning: careful\nhint: look\nnoon  warning: careful\nnoon  working\n");
    assert_eq!(seen.out(), "a\\nb\n");
    let (ui, seen) = Ui::captured(JSON);
    ui.stamp_messages(|| "noon".to_owned());
    ui.advise("careful", Some("look"));
    let line: Value = serde_json::from_str(&seen.err()).unwrap();
    assert_eq!((&line["message"], &line["hint"]), (&"careful".into(), &"look".into()));
}

#[test]
fn quiet_keeps_results_warnings_and_errors() {
    let (ui, seen) = Ui::captured(QUIET);
    ui.line("a result");
    ui.summary("totals");
    ui.status("working");
    ui.warn("careful");
    ui.finish().unwrap();
    assert_eq!(seen.out(), "a result\n");
    assert_eq!(seen.err(), "warning: careful\n");
}

#[test]
fn json_is_one_object_a_line() {
    let (ui, seen) = Ui::captured(JSON);
    ui.json(&json!({"name": "a\u{202e}b"}));
    ui.summary("totals");
    ui.status("working");
    ui.problem(&problem());
    ui.warn("careful");
    ui.error(&CliError::usage("no"));
    ui.finish().unwrap();
    assert_eq!(seen.out(), "{\"name\":\"a\\u202eb\"}\n");
    let lines: Vec<Value> =
        seen.err().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines,
        [
            json!({
                "message_type": "error",
                "error": {"message": "permission denied"},
                "during": "archival",
                "item": "/a\\xff\\x1b",
                "item_b64": "L2H/Gw==",
            }),
            json!({"message_type": "warning", "message": "careful"}),
            json!({"message_type": "exit_error", "code": 2, "message": "no", "hint": null}),
        ]
    );
}

#[test]
fn control_characters_never_get_out() {
    let (ui, seen) = Ui::captured(Voice::default());
    ui.line("name\x1b[2J\nnext");
    ui.warn("server says \u{9b}31m");
    ui.finish().unwrap();
    assert_eq!(seen.out(), "name\\x1b[2J\nnext\n");
    assert_eq!(seen.err(), "warning: server says \\u{9b}31m\n");
}

#[test]
fn a_closed_pipe_is_silent() {
    let ui = broken(io::ErrorKind::BrokenPipe);
    ui.line("x");
    assert!(!ui.is_closed());
    ui.flush();
    assert!(ui.is_closed());
    ui.line("y");
    assert!(ui.finish().is_ok());
}

#[test]
fn a_full_disk_is_an_error() {
    let ui = broken(io::ErrorKind::StorageFull);
    ui.line("x");
    let error = ui.finish().unwrap_err();
    assert_eq!(error.code(), Exit::Failed);
    assert!(error.report().starts_with("cannot write the result"));
}

#[test]
fn bytes_pass_unchanged_and_failures_come_back() {
    let (ui, seen) = Ui::captured(Voice::default());
    ui.stdout().write_all(b"\x1b[raw").unwrap();
    ui.finish().unwrap();
    assert_eq!(seen.out(), "\x1b[raw");

    let ui = broken(io::ErrorKind::BrokenPipe);
    let mut out = ui.stdout();
    out.write_all(b"x").unwrap();
    assert_eq!(out.flush().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert!(out.write_all(b"y").is_err());
}

#[test]
fn colour_only_on_a_terminal_that_wants_it() {
    for (terminal, color, wanted) in [
        (true, true, "\x1b[33mwarning: \x1b[0mx\n"),
        (true, false, "warning: x\n"),
        (false, true, "warning: x\n"),
    ] {
        let err = Shared::default();
        let around = Surroundings { stdout_terminal: false, stderr_terminal: terminal, color };
        let ui = Ui::with(Voice::default(), around, Box::new(io::sink()), Box::new(err.clone()));
        ui.warn("x");
        assert_eq!(err.text(), wanted);
    }
    let env = FixedEnv::new(&[("NO_COLOR", "1")]);
    assert!(!Ui::new(Voice::default(), &env).surroundings().color);
    let env = FixedEnv::new(&[("NO_COLOR", "")]);
    assert!(Ui::new(Voice::default(), &env).surroundings().color);
}
