use std::os::fd::AsRawFd;

use super::*;
use crate::cli::env::{Answers, FixedEnv};

fn unlock(variables: &[(&str, &str)]) -> Result<(bool, String), SecretError> {
    let env = FixedEnv::new(variables);
    let nobody = Answers::nobody();
    Secrets::new(&env, &nobody).to_unlock().map(|secret| match secret {
        Secret::RecoveryCode(text) => (true, text.to_string()),
        Secret::Passphrase(text) => (false, text.to_string()),
    })
}

fn passphrase(variables: &[(&str, &str)]) -> String {
    let (is_code, text) = unlock(variables).unwrap();
    assert!(!is_code);
    text
}

#[test]
fn from_the_variable_as_it_is() {
    assert_eq!(passphrase(&[("BACKUP_PASSPHRASE", " a b\n")]), " a b\n");
}

#[test]
fn from_a_file_without_its_line_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p");
    for (content, wanted) in [
        ("secret\n", "secret"),
        ("secret\r\n", "secret"),
        ("secret", "secret"),
        ("two\n\n", "two\n"),
    ] {
        std::fs::write(&path, content).unwrap();
        let variables = [("BACKUP_PASSPHRASE_FILE", path.to_str().unwrap())];
        assert_eq!(passphrase(&variables), wanted);
    }
}

#[test]
fn from_a_command() {
    let variables = [("BACKUP_PASSPHRASE_COMMAND", "printf '%s\\n' one' 'two")];
    assert_eq!(passphrase(&variables), "one two");
    let error = unlock(&[("BACKUP_PASSPHRASE_COMMAND", "echo x; exit 3")]).unwrap_err();
    assert!(matches!(error, SecretError::Command { .. }));
}

#[test]
fn from_a_file_descriptor() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p");
    std::fs::write(&path, "by number\n").unwrap();
    let file = File::open(&path).unwrap();
    let number = file.as_raw_fd().to_string();
    assert_eq!(passphrase(&[("BACKUP_PASSPHRASE_FD", &number)]), "by number");
    let error = unlock(&[("BACKUP_PASSPHRASE_FD", "x")]).unwrap_err();
    assert_eq!(error.to_string(), "BACKUP_PASSPHRASE_FD: not the number of a file descriptor");
}

#[test]
fn from_a_systemd_credential() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    let variables = [("CREDENTIALS_DIRECTORY", folder)];
    assert!(matches!(unlock(&variables), Err(SecretError::Missing { .. })));
    std::fs::write(dir.path().join("backup-passphrase"), "cred\n").unwrap();
    assert_eq!(passphrase(&variables), "cred");
    std::fs::write(dir.path().join("backup-recovery-code"), "CODE").unwrap();
    assert_eq!(unlock(&variables).unwrap(), (true, "CODE".to_owned()));
}

#[test]
fn the_recovery_code_wins() {
    let both = [("BACKUP_PASSPHRASE", "p"), ("BACKUP_RECOVERY_CODE", "C")];
    assert_eq!(unlock(&both).unwrap(), (true, "C".to_owned()));
}

#[test]
fn nothing_empty_too_long_or_not_text() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p");
    let variables = [("BACKUP_PASSPHRASE_FILE", path.to_str().unwrap())];
    let got = |content: &[u8]| {
        std::fs::write(&path, content).unwrap();
        unlock(&variables)
    };
    assert!(matches!(got(b""), Err(SecretError::Empty { .. })));
    assert!(matches!(got(b"\n"), Err(SecretError::Empty { .. })));
    assert!(matches!(got(b"\xff"), Err(SecretError::NotText { .. })));
    assert!(matches!(got(&[b'x'; 4097]), Err(SecretError::TooLong { .. })));
    assert!(got(&[b'x'; 4096]).is_ok());
    assert!(matches!(unlock(&[("BACKUP_PASSPHRASE", "")]), Err(SecretError::Empty { .. })));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(unlock(&variables), Err(SecretError::Read { .. })));
}

#[test]
fn nobody_to_ask_is_exit_12_and_says_what_to_do() {
    let error = CliError::from(unlock(&[]).unwrap_err());
    assert_eq!(error.code(), Exit::WrongSecret);
    let hint = error.hint_text().unwrap();
    assert!(hint.contains("BACKUP_PASSPHRASE or BACKUP_RECOVERY_CODE (each also with _FILE"));
    assert!(error.report().starts_with("no passphrase or recovery code was given"));
    let (env, nobody) = (FixedEnv::default(), Answers::nobody());
    let new = Secrets::new(&env, &nobody).type_new_passphrase().unwrap_err();
    assert!(!CliError::from(new).hint_text().unwrap().contains("RECOVERY"));
}

#[test]
fn prompts() {
    let env = FixedEnv::default();
    let answers = Answers::new(&["typed"]);
    let secret = Secrets::new(&env, &answers).to_unlock().unwrap();
    assert!(matches!(secret, Secret::Passphrase(text) if *text == "typed"));
    assert_eq!(answers.asked(), ["Passphrase or recovery code: "]);
    let answers = Answers::new(&["CODE"]);
    let secret = Secrets::new(&env, &answers).to_connect().unwrap();
    assert!(matches!(secret, Secret::RecoveryCode(text) if *text == "CODE"));
    assert_eq!(answers.asked(), ["Recovery code: "]);
}

#[test]
fn a_new_passphrase_is_typed_twice() {
    let env = FixedEnv::default();
    let answers = Answers::new(&["one", "two", "three", "three"]);
    let secrets = Secrets::new(&env, &answers);
    assert_eq!(*secrets.type_new_passphrase().unwrap(), "three");
    let answers = Answers::new(&["1", "2", "3", "4", "5", "6"]);
    let secrets = Secrets::new(&env, &answers);
    assert!(matches!(secrets.type_new_passphrase(), Err(SecretError::Mismatch)));
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let secret = Secret::Passphrase(Zeroizing::new("hidden".to_owned()));
    assert_eq!(format!("{secret:?}"), "Passphrase(..)");
}

#[test]
fn a_code_is_known_by_its_checksum_and_a_typing_error_in_one_is_named() {
    let env = FixedEnv::default();
    let code = RecoveryCode::generate(&mut crate::crypto::rng::testing::rng(1)).to_text();
    let typed = |text: &str| Secrets::new(&env, &Answers::new(&[text])).to_unlock().unwrap();
    for good in [code.to_string(), code.to_lowercase(), code.replace('-', " ")] {
        assert!(matches!(typed(&good), Secret::RecoveryCode(text) if *text == good));
        assert_eq!(meant_as_code(&good), None);
    }
    let last = if code.ends_with('0') { "1" } else { "0" };
    let wrong = format!("{}{last}", code.get(..code.len() - 1).unwrap());
    assert!(matches!(typed(&wrong), Secret::Passphrase(text) if *text == wrong));
    assert_eq!(meant_as_code(&wrong), Some(RecoveryCodeError::Checksum));
    let short = code.get(..code.len() - 1).unwrap();
    assert_eq!(meant_as_code(short), Some(RecoveryCodeError::Length { found: 39 }));
    assert_eq!(meant_as_code("seven lanterns drift past the quiet harbour"), None);
}

#[test]
fn whether_somebody_is_asked_goes_by_the_source_that_is_used() {
    let (nobody, somebody) = (Answers::nobody(), Answers::new(&[]));
    for (names, at_hand, asks) in [
        (&["BACKUP_PASSPHRASE"][..], true, false),
        (&["BACKUP_PASSPHRASE_FILE"], true, false),
        (&["BACKUP_RECOVERY_CODE_FD"], true, false),
        (&["BACKUP_RECOVERY_CODE"], true, false),
        (&["BACKUP_PASSPHRASE_COMMAND"], false, false),
        (&["BACKUP_VAULT"], false, true),
        // The command is run, whatever comes after it.
        (&["BACKUP_PASSPHRASE_COMMAND", "BACKUP_PASSPHRASE_FD"], false, false),
        (&["BACKUP_RECOVERY_CODE_COMMAND", "BACKUP_PASSPHRASE"], false, false),
        (&["BACKUP_RECOVERY_CODE_FILE", "BACKUP_PASSPHRASE_COMMAND"], true, false),
    ] {
        let set: Vec<_> = names.iter().map(|name| (*name, "x")).collect();
        let env = FixedEnv::new(&set);
        let secrets = Secrets::new(&env, &somebody);
        assert_eq!((secrets.are_at_hand(), secrets.will_ask()), (at_hand, asks), "{names:?}");
        assert!(!Secrets::new(&env, &nobody).will_ask(), "{names:?}");
    }
}
