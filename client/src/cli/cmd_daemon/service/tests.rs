use std::sync::Arc;

use super::*;
use crate::cli::args::Global;
use crate::cli::env::{Answers, FixedEnv};
use crate::cli::output::{Ui, Voice};

fn printed(args: &InstallArgs, variables: &[(&str, &str)]) -> Result<String, String> {
    let (ui, captured) = Ui::captured(Voice::default());
    let (ui, env, terminal) = (Arc::new(ui), FixedEnv::new(variables), Answers::nobody());
    let global = Global::default();
    let ctx = Context { ui: &ui, global: &global, env: &env, terminal: &terminal };
    let print = InstallArgs { print: true, ..args.clone() };
    install(&ctx, &print).map_err(|error| error.report())?;
    ui.flush();
    Ok(captured.out())
}

#[test]
#[cfg(target_os = "linux")]
fn a_unit_has_the_places_and_no_secret() {
    let variables = [
        ("HOME", "/h"),
        ("BACKUP_CONFIG", "/etc/unseen.toml"),
        ("XDG_STATE_HOME", "/s"),
        ("BACKUP_PASSPHRASE", "brisk otter"),
        ("BACKUP_VAULT", "file:///v"),
    ];
    let user = printed(&InstallArgs::default(), &variables).unwrap();
    assert!(user.contains("\nEnvironment=\"BACKUP_CONFIG=/etc/unseen.toml\"\n"), "{user}");
    assert!(user.contains("\nEnvironment=\"XDG_STATE_HOME=/s\"\n"), "{user}");
    assert!(!user.contains("otter") && !user.contains("User="), "{user}");
    let place = "# Belongs in /h/.config/systemd/user/unseen-backup.service\n";
    assert!(user.starts_with(place), "{user}");
    let system = InstallArgs { system: true, user: Some("ann".into()), ..Default::default() };
    let system = printed(&system, &variables).unwrap();
    assert!(system.contains("\nUser=ann\n") && !system.contains("XDG_STATE_HOME"), "{system}");
    let place = "# Belongs in /etc/systemd/system/unseen-backup.service\n";
    assert!(system.starts_with(place), "{system}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_user_that_would_add_lines_is_refused() {
    let user = Some("ann\nExecStartPre=/bin/evil".to_owned());
    let args = InstallArgs { system: true, user, ..Default::default() };
    assert!(printed(&args, &[("HOME", "/h")]).unwrap_err().contains("the user's name"));
}

#[test]
fn it_begins_where_there_is_a_vault_or_somebody_elses() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path().to_str().unwrap();
    let passwd = format!("ann:x:5:5::{home}:/bin/sh\nnobody:x:9:9::/nonexistent:/bin/false\n");
    fs::write(Path::new(home).join("passwd"), passwd).unwrap();
    let names =
        OwnerNames::from_files(&Path::new(home).join("passwd"), Path::new("/nowhere"), None);
    let begins = |args: InstallArgs, more: &[(&str, &str)]| {
        let (ui, env) = (Ui::captured(Voice::default()).0, [&[("HOME", home)], more].concat());
        let (ui, env, terminal) = (Arc::new(ui), FixedEnv::new(&env), Answers::nobody());
        let global = Global::default();
        let ctx = Context { ui: &ui, global: &global, env: &env, terminal: &terminal };
        let told = |error: CliError| {
            format!("{} {}", error.report(), error.hint_text().unwrap_or_default())
        };
        can_begin(&ctx, &args, &names).map_err(told)
    };
    let system = InstallArgs { system: true, ..Default::default() };
    assert!(begins(InstallArgs::default(), &[]).unwrap_err().contains("no vault"));
    let by_sudo = begins(system.clone(), &[("SUDO_USER", "ann")]).unwrap_err();
    assert!(by_sudo.contains("`--system --user ann`"), "{by_sudo}");
    begins(InstallArgs { user: Some("ann".into()), ..system.clone() }, &[]).unwrap();
    if cfg!(target_os = "linux") {
        let as_user = |user: &str| InstallArgs { user: Some(user.into()), ..system.clone() };
        let nobody = begins(as_user("nobody"), &[]).unwrap_err();
        assert!(
            nobody.contains("the user nobody has no home folder (/nonexistent is none)"),
            "{nobody}"
        );
        let given = PLACES.map(|name| (name, "/given"));
        begins(as_user("nobody"), &given).unwrap();
        begins(as_user("nobody"), &given[1..]).unwrap_err();
        let eve = begins(as_user("eve"), &[]).unwrap_err();
        assert!(eve.contains("there is no user eve"), "{eve}");
    }
    let credential = |path: &str| InstallArgs { credential: Some(path.into()), ..system.clone() };
    assert!(begins(credential("/nowhere"), &[]).unwrap_err().contains("/nowhere"));
    begins(credential(home), &[]).unwrap();
}

#[test]
fn a_profile_may_end_as_another_kind_of_unit() {
    let service = Service {
        program: "/backup".into(),
        profile: "my.timer".to_owned(),
        variables: Vec::new(),
        scope: Scope::User,
        log: None,
    };
    let unit = OsStr::new("unseen-backup-my.timer.service");
    let words = begin(Manager::Systemd, &service, Path::new("/u"));
    assert!(words.iter().skip(1).all(|words| words.last().is_some_and(|word| word == unit)));
    let (stop, _) = end(Manager::Systemd, &service);
    assert!(stop.iter().all(|words| words.last().is_some_and(|word| word == unit)));
}
