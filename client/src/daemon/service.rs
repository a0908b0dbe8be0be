//! The service manager's files: a unit of systemd, for a user or for the system, and an agent of
//! launchd.
//!
//! Rules of quoting: systemd.syntax(7), systemd.service(5) "Command lines", systemd.unit(5)
//! "Specifiers"; launchd.plist(5).

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What the service runs, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The program.
    pub program: PathBuf,
    /// The profile.
    pub profile: String,
    /// Variables that the program is to see; none of them is a secret.
    pub variables: Vec<(String, String)>,
    /// For whom it runs.
    pub scope: Scope,
    /// Where launchd puts what it says; systemd has a journal.
    pub log: Option<PathBuf>,
}

/// For whom a service runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// For whoever installs it, while they are logged in.
    User,
    /// For one user of this machine, from the start of the machine.
    System {
        /// The user's name.
        user: String,
        /// It may read files of all users.
        reads_all: bool,
        /// An encrypted credential with `device.key`, as `systemd-creds encrypt` makes it.
        credential: Option<PathBuf>,
    },
}

/// The name of the credential with `device.key`.
pub const CREDENTIAL: &str = "backup-device-key";

/// A path or variable that the files of a service manager cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} cannot be written into a service file: {text:?}")]
pub struct Unwritable {
    /// What it is.
    pub what: &'static str,
    /// As it is.
    pub text: String,
}

impl Service {
    /// The name of the unit, without its ending.
    pub fn unit_name(&self) -> String {
        if self.profile == "default" {
            "unseen-backup".to_owned()
        } else {
            format!("unseen-backup-{}", self.profile)
        }
    }

    /// The label of the agent.
    pub fn label(&self) -> String {
        format!("unseen.backup.{}", self.profile)
    }

    /// The unit for systemd.
    pub fn systemd(&self) -> Result<String, Unwritable> {
        let program = quoted("the program's path", path_text(&self.program)?, Dollar::Double)?;
        let profile = quoted("the profile", &self.profile, Dollar::Double)?;
        let mut unit = format!(
            "\
# Made by `backup daemon install`; `backup daemon uninstall` removes it. Changes belong in a drop-in:
# systemctl {edit}edit {name}.service
[Unit]
Description=Unseen backup, watching (profile {profile_plain})
# A network that comes later is waited for.
StartLimitIntervalSec=0

[Service]
# The daemon says itself when it is ready, and that it is alive.
Type=notify
ExecStart={program} --profile {profile} daemon run
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
# Not for what only a person can mend: usage, no vault, another history, refused, another key.
RestartPreventExitStatus=2 10 12 21 22 25
RestartSec=30
WatchdogSec=300
# A run in progress keeps a checkpoint.
TimeoutStopSec=90
KillMode=mixed

Nice=10
IOSchedulingClass=idle
CPUWeight=20
MemoryHigh=400M
UMask=0077
",
            edit = if self.scope == Scope::User { "--user " } else { "" },
            name = self.unit_name(),
            profile_plain = self.profile.replace('%', "%%"),
        );
        for (name, value) in &self.variables {
            let pair = quoted("a variable", &format!("{name}={value}"), Dollar::Single)?;
            writeln!(unit, "Environment={pair}").ok();
        }
        if let Scope::System { user, reads_all, credential } = &self.scope {
            system_lines(&mut unit, (user, *reads_all), credential.as_deref())?;
        }
        unit.push_str(self.rights());
        let target = if self.scope == Scope::User { "default.target" } else { "multi-user.target" };
        write!(unit, "\n[Install]\nWantedBy={target}\n").ok();
        Ok(unit)
    }

    /// What the daemon and the commands of its sets may not do.
    fn rights(&self) -> &'static str {
        match self.scope {
            // Whoever may change config.toml can start programs without the daemon, too.
            Scope::User => {
                "# Nothing of NoNewPrivileges=: a set's commands may use sudo, as by hand.\n"
            }
            Scope::System { .. } => {
                "\
# For commands of a set that use sudo, all three have to be =no in a drop-in.
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
"
            }
        }
    }

    fn log_key(&self) -> Result<String, Unwritable> {
        let Some(log) = &self.log else { return Ok(String::new()) };
        let log = xml("the log's path", path_text(log)?)?;
        Ok(format!("\n  <key>StandardErrorPath</key><string>{log}</string>"))
    }

    /// The agent for launchd.
    pub fn launchd(&self) -> Result<String, Unwritable> {
        let program = xml("the program's path", path_text(&self.program)?)?;
        let mut variables = String::new();
        for (name, value) in &self.variables {
            let (name, value) = (xml("a variable", name)?, xml("a variable", value)?);
            write!(variables, "\n    <key>{name}</key><string>{value}</string>").ok();
        }
        Ok(format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- Made by `backup daemon install`; `backup daemon uninstall` removes it. -->
<plist version="1.0">
<dict>
  <key>Label</key><string>{label}</string>
  <key>ProgramArguments</key>
  <array>
    <string>{program}</string>
    <string>--profile</string>
    <string>{profile}</string>
    <string>daemon</string>
    <string>run</string>
  </array>
  <key>EnvironmentVariables</key>
  <dict>{variables}
  </dict>
  <key>RunAtLoad</key><true/>
  <key>KeepAlive</key>
  <dict>
    <key>SuccessfulExit</key><false/>
  </dict>
  <key>ThrottleInterval</key><integer>30</integer>
  <key>ProcessType</key><string>Background</string>
  <key>LowPriorityIO</key><true/>
  <key>Nice</key><integer>10</integer>
  <key>Umask</key><integer>63</integer>{log}
</dict>
</plist>
"#,
            log = self.log_key()?,
            label = xml("the profile", &self.label())?,
            profile = xml("the profile", &self.profile)?,
        ))
    }
}

fn system_lines(
    unit: &mut String,
    (user, reads_all): (&str, bool),
    credential: Option<&Path>,
) -> Result<(), Unwritable> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.$@".contains(&byte);
    if user.is_empty() || !user.bytes().all(plain) {
        return Err(Unwritable { what: "the user's name", text: user.to_owned() });
    }
    // Nothing but specifiers is expanded here. Without a session there is no XDG_RUNTIME_DIR: the
    // control socket is in the state folder, where the commands of that user find it.
    writeln!(unit, "User={user}").ok();
    if reads_all {
        writeln!(
            unit,
            "AmbientCapabilities=CAP_DAC_READ_SEARCH\nCapabilityBoundingSet=CAP_DAC_READ_SEARCH"
        )
        .ok();
    }
    if let Some(path) = credential {
        let path = path_text(path)?;
        let plain = |c: char| !c.is_control() && !c.is_whitespace() && c != ':' && c != '"';
        if !path.chars().all(plain) {
            return Err(Unwritable { what: "the credential's path", text: path.to_owned() });
        }
        writeln!(unit, "LoadCredentialEncrypted={CREDENTIAL}:{}", path.replace('%', "%%")).ok();
    }
    Ok(())
}

fn path_text(path: &Path) -> Result<&str, Unwritable> {
    path.to_str()
        .ok_or_else(|| Unwritable { what: "a path", text: path.to_string_lossy().into_owned() })
}

/// How a dollar sign is written: where command lines are made of it, twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dollar {
    Single,
    Double,
}

/// One word of a unit.
fn quoted(what: &'static str, text: &str, dollar: Dollar) -> Result<String, Unwritable> {
    if text.chars().any(char::is_control) {
        return Err(Unwritable { what, text: text.to_owned() });
    }
    let mut word = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => word.extend(['\\', c]),
            '%' => word.push_str("%%"),
            '$' if dollar == Dollar::Double => word.push_str("$$"),
            c => word.push(c),
        }
    }
    word.push('"');
    Ok(word)
}

fn xml(what: &'static str, text: &str) -> Result<String, Unwritable> {
    if text.chars().any(char::is_control) {
        return Err(Unwritable { what, text: text.to_owned() });
    }
    Ok(text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(scope: Scope) -> Service {
        Service {
            program: "/opt/a b/$x%n/backup".into(),
            profile: "default".to_owned(),
            variables: vec![("BACKUP_CONFIG".to_owned(), "/c \"d\"/$e%f<&>\\".to_owned())],
            scope,
            log: Some("/h/Library/Logs/a&b.log".into()),
        }
    }

    #[test]
    fn a_units_words_are_what_they_were() {
        let unit = service(Scope::User).systemd().unwrap();
        let has = |line: &str| assert!(unit.lines().any(|l| l == line), "{line}\n{unit}");
        has(r#"ExecStart="/opt/a b/$$x%%n/backup" --profile "default" daemon run"#);
        has(r#"Environment="BACKUP_CONFIG=/c \"d\"/$e%%f<&>\\""#);
        has("Type=notify");
        has("IOSchedulingClass=idle");
        has("WantedBy=default.target");
        assert!(!unit.contains("User="), "{unit}");
    }

    /// Each of them takes sudo from the commands of a set: in a unit of the user, the other two
    /// imply the first.
    #[test]
    fn a_users_commands_may_do_what_they_may_by_hand() {
        let keys = ["NoNewPrivileges=yes", "LockPersonality=yes", "RestrictRealtime=yes"];
        let has = |scope, key| service(scope).systemd().unwrap().lines().any(|line| line == key);
        let system = Scope::System { user: "ann".to_owned(), reads_all: false, credential: None };
        for key in keys {
            assert!(!has(Scope::User, key) && has(system.clone(), key), "{key}");
        }
    }

    #[test]
    fn a_unit_of_the_system_runs_as_one_user_with_no_more_rights_than_asked() {
        let scope = |reads_all, credential: Option<&str>| Scope::System {
            user: "ann".to_owned(),
            reads_all,
            credential: credential.map(PathBuf::from),
        };
        let unit = service(scope(false, None)).systemd().unwrap();
        assert!(unit.contains("\nUser=ann\n") && unit.contains("\nWantedBy=multi-user.target\n"));
        assert!(!unit.contains("RUNTIME_DIR"), "the user's own commands look elsewhere: {unit}");
        assert!(!unit.contains("Capabilities") && !unit.contains("Credential"), "{unit}");
        let unit = service(scope(true, Some("/etc/k%.cred"))).systemd().unwrap();
        assert!(unit.contains("\nAmbientCapabilities=CAP_DAC_READ_SEARCH\n"), "{unit}");
        let line = "\nLoadCredentialEncrypted=backup-device-key:/etc/k%%.cred\n";
        assert!(unit.contains(line), "{unit}");
    }

    #[test]
    fn what_could_begin_a_line_of_its_own_is_refused() {
        let mut bad = service(Scope::User);
        bad.variables[0].1 = "x\nExecStartPre=/bin/evil".to_owned();
        assert_eq!(bad.systemd().unwrap_err().what, "a variable");
        assert_eq!(bad.launchd().unwrap_err().what, "a variable");
        for user in ["", "a b", "a\nb", "%i"] {
            let scope = Scope::System { user: user.into(), reads_all: false, credential: None };
            assert_eq!(service(scope).systemd().unwrap_err().what, "the user's name");
        }
        for path in ["/a b", "/a:b", "/a\nb"] {
            let credential = Some(path.into());
            let scope = Scope::System { user: "ann".into(), reads_all: false, credential };
            assert_eq!(service(scope).systemd().unwrap_err().what, "the credential's path");
        }
    }

    #[test]
    fn an_agents_words_are_what_they_were() {
        let agent = service(Scope::User).launchd().unwrap();
        assert!(agent.contains("<string>/opt/a b/$x%n/backup</string>"), "{agent}");
        assert!(agent.contains("<string>/c \"d\"/$e%f&lt;&amp;&gt;\\</string>"), "{agent}");
        assert!(agent.contains("<string>unseen.backup.default</string>"), "{agent}");
    }

    /// Python's reader of property lists takes it, where there is one.
    #[test]
    fn an_agent_is_a_property_list() {
        let agent = service(Scope::User).launchd().unwrap();
        let script =
            "import json,plistlib,sys; print(json.dumps(plistlib.loads(sys.stdin.buffer.read())))";
        let python = std::process::Command::new("python3")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn();
        let Ok(mut python) = python else { return };
        std::io::Write::write_all(&mut python.stdin.take().unwrap(), agent.as_bytes()).unwrap();
        let read = python.wait_with_output().unwrap();
        assert!(read.status.success(), "{agent}");
        let read: serde_json::Value = serde_json::from_slice(&read.stdout).unwrap();
        let words = ["/opt/a b/$x%n/backup", "--profile", "default", "daemon", "run"];
        assert_eq!(read["ProgramArguments"], serde_json::json!(words));
        assert_eq!(read["EnvironmentVariables"]["BACKUP_CONFIG"], "/c \"d\"/$e%f<&>\\");
        assert_eq!(read["StandardErrorPath"], "/h/Library/Logs/a&b.log");
        assert_eq!(read["KeepAlive"]["SuccessfulExit"], false);
        assert_eq!((&read["Nice"], &read["Umask"]), (&10.into(), &0o77.into()));
    }

    #[test]
    fn profiles_have_services_of_their_own() {
        let mut other = service(Scope::User);
        other.profile = "work".to_owned();
        assert_eq!(other.unit_name(), "unseen-backup-work");
        assert_ne!(other.label(), service(Scope::User).label());
    }
}
