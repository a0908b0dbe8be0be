//! `backup daemon install` and `uninstall`: hands the daemon to the service manager.

#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::super::context::Context;
use super::super::escape::escape_for_terminal;
use super::super::exit::{CliError, Exit};
use crate::daemon::service::{Scope, Service};
use crate::pins::private_folder;
use crate::scan::names::OwnerNames;

/// What `daemon install` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
By default the daemon runs for you, from log-in to log-out. --system makes a service that runs from
the start of the machine, for servers. Put an encrypted device.key into a credential with

  systemd-creds encrypt --name=backup-device-key ~/.local/share/unseen/default/device.key KEY.cred

Examples:
  backup daemon install
  sudo backup daemon install --system --user ann
  backup daemon install --print")]
pub struct InstallArgs {
    /// A service of the machine, not of whoever is logged in
    #[arg(long)]
    pub system: bool,
    /// The user that it runs as [default: root]
    #[arg(long, value_name = "NAME", requires = "system")]
    pub user: Option<String>,
    /// It may read the files of all users
    #[arg(long, requires = "user")]
    pub read_all: bool,
    /// An encrypted credential with device.key
    #[arg(long, value_name = "FILE", requires = "system")]
    pub credential: Option<PathBuf>,
    /// Print the service's file, and change nothing
    #[arg(long)]
    pub print: bool,
}

/// What `daemon uninstall` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
What was backed up stays, and so does what this machine needs to back up by hand.

Example:
  backup daemon uninstall")]
pub struct UninstallArgs {
    /// The service of the machine
    #[arg(long)]
    pub system: bool,
}

/// Variables that say where things are. Secrets are never among them.
const PASSED: [&str; 9] = [
    "BACKUP_CONFIG",
    "BACKUP_DATA_DIR",
    "BACKUP_STATE_DIR",
    "BACKUP_CACHE_DIR",
    "BACKUP_HOST",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_STATE_HOME",
    "XDG_CACHE_HOME",
];

/// Those without which a home folder is needed.
const PLACES: [&str; 4] =
    ["BACKUP_CONFIG", "BACKUP_DATA_DIR", "BACKUP_STATE_DIR", "BACKUP_CACHE_DIR"];

/// A service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manager {
    Systemd,
    Launchd,
}

impl Manager {
    fn of_this_machine() -> Result<Self, CliError> {
        if cfg!(target_os = "macos") {
            Ok(Self::Launchd)
        } else if Path::new("/run/systemd/system").is_dir() {
            Ok(Self::Systemd)
        } else {
            Err(CliError::new(
                Exit::Failed,
                "no service manager was found: systemd does not run here",
            )
            .hint("have your own start `backup daemon run`; --print shows a unit to go by"))
        }
    }
}

/// Installs the service.
pub(super) fn install(ctx: &Context<'_>, args: &InstallArgs) -> Result<Exit, CliError> {
    let service = service(ctx, args)?;
    let unwritable = |error| CliError::from_error(Exit::Usage, error);
    if args.print {
        return print(ctx, &service);
    }
    can_begin(ctx, args, &OwnerNames::of_this_machine())?;
    let manager = Manager::of_this_machine()?;
    let path = place(ctx, manager, &service)?;
    let file = match manager {
        Manager::Systemd => service.systemd(),
        Manager::Launchd => service.launchd(),
    };
    let again = path.exists();
    write(&path, &file.map_err(unwritable)?)?;
    if again && manager == Manager::Launchd {
        // launchd takes the new file only when the old one has left; it may not have been there.
        for words in end(manager, &service).0 {
            call(&words).ok();
        }
    }
    for words in begin(manager, &service, &path) {
        call(&words).map_err(|error| match (manager, error.hint_text()) {
            (Manager::Systemd, None) => error.hint(logged(&service)),
            _ => error,
        })?;
    }
    told(ctx, "installed", &path);
    if service.scope == Scope::User && manager == Manager::Systemd && !lingers(ctx) {
        ctx.ui.status(
            "it runs while you are logged in; to let it run from the start of the machine: \
             `loginctl enable-linger`",
        );
    }
    ctx.ui.status("`backup daemon status` tells what it does");
    Ok(Exit::Done)
}

/// Prints the file, and where it belongs.
fn print(ctx: &Context<'_>, service: &Service) -> Result<Exit, CliError> {
    let macos = cfg!(target_os = "macos");
    let file = if macos { service.launchd() } else { service.systemd() };
    let file = file.map_err(|error| CliError::from_error(Exit::Usage, error))?;
    let manager = if macos { Manager::Launchd } else { Manager::Systemd };
    // Whoever has no home can be shown the file all the same.
    if let Ok(path) = place(ctx, manager, service) {
        let path = escape_for_terminal(path.as_os_str().as_bytes());
        if macos {
            // Nothing may come before the first line of XML, nor every path be in a comment.
            ctx.ui.status(&format!("it belongs in {path}"));
        } else {
            ctx.ui.line(&format!("# Belongs in {path}"));
        }
    }
    for line in file.lines() {
        ctx.ui.line(line);
    }
    Ok(Exit::Done)
}

/// What can be known before a service is made of it: whether there is a vault to back up to.
fn can_begin(ctx: &Context<'_>, args: &InstallArgs, names: &OwnerNames) -> Result<(), CliError> {
    if let Some(user) = &args.user {
        has_a_place(ctx, user, names)?;
    }
    if let Some(path) = &args.credential {
        // Whether it holds a key only the service manager can tell.
        return fs::metadata(path).map(drop).map_err(|error| {
            CliError::usage(format!("there is no credential at {}", path.display())).because(error)
        });
    }
    let root = rustix::process::getuid().is_root();
    if args.user.as_deref().is_some_and(|user| !root || user != "root") {
        // The vault is in that user's folders: the daemon looks there, and says so if it is not.
        return Ok(());
    }
    let setup = ctx.setup()?;
    super::super::vault::device_key(&setup).map(drop).map_err(|error| {
        match ctx.env.var("SUDO_USER").filter(|user| args.system && user != "root") {
            Some(user) => error.hint(format!(
                "the daemon would run as root. For the vault of {0}: `--system --user {0}`",
                user.display()
            )),
            None => error,
        }
    })
}

/// That the daemon of this profile is installed, if it is: for those who find it gone.
pub fn installed(ctx: &Context<'_>) -> Option<CliError> {
    let manager = if cfg!(target_os = "macos") { Manager::Launchd } else { Manager::Systemd };
    [false, true].into_iter().find_map(|system| {
        let service = service(ctx, &InstallArgs { system, ..InstallArgs::default() }).ok()?;
        let path = place(ctx, manager, &service).ok()?;
        let unit = fs::read_to_string(&path).ok()?;
        if system && !runs_as_me(&unit) {
            return None;
        }
        let message = format!("not running, though it is installed ({})", path.display());
        let meant = "if it is meant to be off, `backup daemon uninstall` says so";
        let (ask, start) = match service.scope {
            Scope::User => ("systemctl --user", "systemctl --user"),
            Scope::System { .. } => ("systemctl", "sudo systemctl"),
        };
        let unit = unit_file(&service);
        Some(CliError::new(Exit::Failed, message).hint(match manager {
            Manager::Systemd => {
                format!(
                    "`{ask} status {unit}` tells why, `{start} start {unit}` starts it; {meant}"
                )
            }
            Manager::Launchd => format!("`backup daemon install` starts it anew; {meant}"),
        }))
    })
}

/// Whether a unit of the machine is that of whoever asks.
fn runs_as_me(unit: &str) -> bool {
    let me = OwnerNames::of_this_machine().user(rustix::process::geteuid().as_raw());
    me.is_some_and(|me| unit.lines().any(|line| line.strip_prefix("User=") == Some(&*me)))
}

/// Whether a user's daemon finds its keys and its settings: by that user's home folder, unless all
/// that it needs is said to be elsewhere.
fn has_a_place(ctx: &Context<'_>, user: &str, names: &OwnerNames) -> Result<(), CliError> {
    let given = |name: &str| ctx.env.var(name).is_some_and(|value| !value.is_empty());
    if !cfg!(target_os = "linux") || PLACES.iter().all(|name| given(name)) {
        return Ok(());
    }
    let Some(home) = names.home(user) else {
        return Err(CliError::usage(format!("there is no user {user} on this machine"))
            .hint("--user names who the vault and config.toml belong to"));
    };
    if home.is_dir() && home != Path::new("/") {
        return Ok(());
    }
    let message = format!(
        "the user {user} has no home folder ({} is none): its daemon would find neither keys nor config.toml",
        home.display()
    );
    Err(CliError::usage(message).hint(format!(
        "name a user who has one, or say where they are, each in its variable: {}",
        PLACES.join(", ")
    )))
}

/// Whether the user's services run without the user: then there is nothing to say about it.
fn lingers(ctx: &Context<'_>) -> bool {
    let user = ctx.env.var("USER").filter(|user| !user.is_empty());
    user.is_some_and(|user| Path::new("/var/lib/systemd/linger").join(user).exists())
}

/// Where a service that does not start says why.
fn logged(service: &Service) -> String {
    let unit = unit_file(service);
    let (mine, back) = match service.scope {
        Scope::User => ("--user ", ""),
        Scope::System { .. } => ("", " --system"),
    };
    format!(
        "`journalctl {mine}-u {unit} -n 5` says why; `backup daemon uninstall{back}` takes it back"
    )
}

/// Removes the service.
pub(super) fn uninstall(ctx: &Context<'_>, args: &UninstallArgs) -> Result<Exit, CliError> {
    let install = InstallArgs { system: args.system, ..InstallArgs::default() };
    let service = service(ctx, &install)?;
    let manager = Manager::of_this_machine()?;
    let path = place(ctx, manager, &service)?;
    if !path.exists() {
        let other = if args.system { "without --system" } else { "with --system" };
        return Err(CliError::new(Exit::Failed, format!("no service at {}", path.display()))
            .hint(format!("perhaps it was installed {other}, or for another --profile")));
    }
    let (before, after) = end(manager, &service);
    // One that does not run, or that the manager never heard of, is removed all the same.
    for words in before {
        if let Err(error) = call(&words) {
            ctx.ui.warn(&error.report());
        }
    }
    fs::remove_file(&path).map_err(|error| {
        CliError::new(Exit::Failed, format!("cannot remove {}", path.display())).because(error)
    })?;
    for words in after {
        call(&words)?;
    }
    told(ctx, "removed", &path);
    Ok(Exit::Done)
}

fn told(ctx: &Context<'_>, what: &str, path: &Path) {
    if ctx.ui.is_json() {
        ctx.ui.json(&json!({ "message_type": "service", "state": what, "file": path }));
    } else {
        ctx.ui.line(&format!("{what}: {}", path.display()));
    }
}

fn service(ctx: &Context<'_>, args: &InstallArgs) -> Result<Service, CliError> {
    let program = std::env::current_exe()
        .map_err(|error| CliError::new(Exit::Failed, "cannot tell where I am").because(error))?;
    let mut variables = Vec::new();
    for name in PASSED {
        // A service of the machine has its own user's folders.
        let passed = !args.system || name.starts_with("BACKUP_");
        if let Some(value) = ctx.env.var(name).filter(|value| passed && !value.is_empty()) {
            let value = absolute(name, value)?;
            variables.push((name.to_owned(), value));
        }
    }
    let scope = if args.system {
        Scope::System {
            user: args.user.clone().unwrap_or_else(|| "root".to_owned()),
            reads_all: args.read_all,
            // A name alone would be looked for among those of systemd.
            credential: args.credential.as_deref().map(std::path::absolute).transpose().map_err(
                |error| CliError::usage("the credential's path is empty").because(error),
            )?,
        }
    } else {
        Scope::User
    };
    let profile = ctx.global.profile_name().as_str().to_owned();
    let mut service = Service { program, profile, variables, scope, log: None };
    let logs = match (&service.scope, ctx.env.var("HOME").filter(|home| !home.is_empty())) {
        (Scope::User, Some(home)) => Some(Path::new(&home).join("Library/Logs")),
        (Scope::User, None) => None,
        (Scope::System { .. }, _) => Some(PathBuf::from("/Library/Logs")),
    };
    service.log = logs.map(|logs| logs.join(format!("{}.log", service.unit_name())));
    Ok(service)
}

/// The service begins in another folder.
fn absolute(name: &str, value: OsString) -> Result<String, CliError> {
    let wrong =
        |error: std::io::Error| CliError::usage(format!("{name} is no path")).because(error);
    let value = if name == "BACKUP_HOST" {
        value
    } else {
        std::path::absolute(&value).map_err(wrong)?.into_os_string()
    };
    value.into_string().map_err(|_value| CliError::usage(format!("{name} is not UTF-8")))
}

/// Where the service's file belongs.
fn place(ctx: &Context<'_>, manager: Manager, service: &Service) -> Result<PathBuf, CliError> {
    let home = || {
        let home = ctx.env.var("HOME").filter(|home| !home.is_empty());
        home.map(PathBuf::from).ok_or_else(|| CliError::new(Exit::Failed, "HOME is not set"))
    };
    let unit = unit_file(service);
    let agent = format!("{}.plist", service.label());
    Ok(match (manager, &service.scope) {
        (Manager::Systemd, Scope::System { .. }) => Path::new("/etc/systemd/system").join(unit),
        (Manager::Systemd, Scope::User) => {
            let config = ctx.env.var("XDG_CONFIG_HOME").map(PathBuf::from);
            let config = match config.filter(|path| path.is_absolute()) {
                Some(config) => config,
                None => home()?.join(".config"),
            };
            config.join("systemd/user").join(unit)
        }
        (Manager::Launchd, Scope::System { .. }) => Path::new("/Library/LaunchDaemons").join(agent),
        (Manager::Launchd, Scope::User) => home()?.join("Library/LaunchAgents").join(agent),
    })
}

fn write(path: &Path, content: &str) -> Result<(), CliError> {
    let wrong = |error: std::io::Error| {
        let denied = error.kind() == std::io::ErrorKind::PermissionDenied;
        let told = CliError::new(Exit::Failed, format!("cannot write {}", path.display()));
        let told = told.because(error);
        if denied {
            told.hint("a service of the machine is installed by root: use sudo")
        } else {
            told
        }
    };
    let folder = path.parent().unwrap_or(Path::new("/"));
    private_folder(folder).map_err(wrong)?;
    let mut file = tempfile::Builder::new().prefix(".unseen").tempfile_in(folder).map_err(wrong)?;
    std::io::Write::write_all(&mut file, content.as_bytes()).map_err(wrong)?;
    // There is nothing secret in it, and the service manager has to read it.
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(readable).map_err(wrong)?;
    file.persist(path).map_err(|error| wrong(error.error))?;
    Ok(())
}

type Words = Vec<OsString>;

fn words(words: &[&dyn AsRef<OsStr>]) -> Words {
    words.iter().map(|word| word.as_ref().to_owned()).collect()
}

fn systemctl(service: &Service) -> Words {
    match service.scope {
        Scope::User => words(&[&"systemctl", &"--user"]),
        Scope::System { .. } => words(&[&"systemctl"]),
    }
}

/// With its ending: a profile may be called as another kind of unit ends.
fn unit_file(service: &Service) -> String {
    format!("{}.service", service.unit_name())
}

/// launchd's name for where the service lives.
fn domain(service: &Service) -> String {
    match service.scope {
        Scope::User => format!("gui/{}", rustix::process::getuid().as_raw()),
        Scope::System { .. } => "system".to_owned(),
    }
}

/// What makes the manager take it, and start it now and always.
fn begin(manager: Manager, service: &Service, path: &Path) -> Vec<Words> {
    match manager {
        Manager::Systemd => {
            let with = |rest: &[&dyn AsRef<OsStr>]| [systemctl(service), words(rest)].concat();
            let unit = unit_file(service);
            // A new file for a service that runs is followed at once.
            vec![with(&[&"daemon-reload"]), with(&[&"enable", &unit]), with(&[&"restart", &unit])]
        }
        Manager::Launchd => {
            vec![words(&[&"launchctl", &"bootstrap", &domain(service), &path])]
        }
    }
}

/// What stops it for good, before and after its file goes.
fn end(manager: Manager, service: &Service) -> (Vec<Words>, Vec<Words>) {
    match manager {
        Manager::Systemd => {
            let with = |rest: &[&dyn AsRef<OsStr>]| [systemctl(service), words(rest)].concat();
            let stop = with(&[&"disable", &"--now", &unit_file(service)]);
            (vec![stop], vec![with(&[&"daemon-reload"])])
        }
        Manager::Launchd => {
            let target = format!("{}/{}", domain(service), service.label());
            (vec![words(&[&"launchctl", &"bootout", &target])], Vec::new())
        }
    }
}

fn call(words: &[OsString]) -> Result<(), CliError> {
    let Some((program, arguments)) = words.split_first() else {
        return Ok(());
    };
    let line = words.join(OsStr::new(" "));
    let line = String::from_utf8_lossy(line.as_bytes()).into_owned();
    let output = Command::new(program).args(arguments).output().map_err(|error| {
        CliError::new(Exit::Failed, format!("cannot run `{line}`")).because(error)
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let error = CliError::new(Exit::Failed, format!("`{line}` failed: {said}"));
    Err(if said.contains("Failed to connect to bus") || said.contains("No medium found") {
        error.hint("there is no session of systemd for this user: log in once, or use --system")
    } else {
        error
    })
}
