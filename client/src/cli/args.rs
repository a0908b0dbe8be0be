//! The whole command line as types. What each command takes is in the command's own file.

use clap::{ArgAction, Args, Parser, Subcommand};

use super::output::Voice;
use super::places::ProfileName;
use super::{
    cmd_check, cmd_compact, cmd_connect, cmd_daemon, cmd_dump, cmd_forget, cmd_init, cmd_ls,
    cmd_pin, cmd_policy, cmd_privacy, cmd_restore, cmd_run, cmd_set, cmd_snapshots, cmd_status,
    cmd_undelete, cmd_version, cmd_why,
};

pub mod keep;
pub mod values;

/// End-to-end encrypted backup: the server cannot view your files.
#[derive(Debug, Parser)]
#[command(
    name = "backup",
    bin_name = "backup",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "\
Example: a first backup, with no server
  backup init --local /mnt/disk/vault --kit kit.html
  backup run ~/Documents ~/Pictures
  backup restore latest --target /tmp/restored

Exit codes: 0 done, 1 failed, 2 usage, 3 some files could not be read, 10 no vault, 11 busy,
12 wrong passphrase or code, 20 damaged data, 21 history does not match, 22 refused, 23 full,
24 unreachable, 25 wrong server key, 130 interrupted."
)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Print JSON: one document, or lines with message types
    #[arg(long, global = true)]
    pub json: bool,
    /// Print results, warnings and errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more; twice: more still
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Use this profile of config.toml [default: default]
    #[arg(long, global = true, value_name = "NAME", env = "BACKUP_PROFILE")]
    pub profile: Option<ProfileName>,
    /// Use this vault, whatever the profile says
    #[arg(
        help = "Use this vault, whatever the profile says: unseen://HOST:PORT/ACCOUNT?pin=… or \
                file:///PATH",
        short = 'r',
        long,
        global = true,
        value_name = "URL",
        env = "BACKUP_VAULT",
        visible_alias = "repo"
    )]
    pub vault: Option<String>,
    /// Answer every question with yes
    #[arg(long, global = true)]
    pub yes: bool,
}

impl Global {
    /// How to speak.
    pub fn voice(&self) -> Voice {
        let level = if self.quiet { -1 } else { i8::try_from(self.verbose).unwrap_or(i8::MAX) };
        Voice { json: self.json, level }
    }

    /// The profile whose keys and state are used: the one asked for; else, for a vault named by
    /// its address, one made from the address; else the default one.
    pub fn profile_name(&self) -> ProfileName {
        match (&self.profile, &self.vault) {
            (Some(name), _) => name.clone(),
            (None, Some(address)) => ProfileName::of_vault(address),
            (None, None) => ProfileName::default(),
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new vault, and the kit that recovers it
    Init(cmd_init::InitArgs),
    /// Connect this machine to a vault that exists
    Connect(cmd_connect::ConnectArgs),
    /// Back up
    Run(Box<cmd_run::RunArgs>),
    /// Say what is backed up together, under a name
    Set(cmd_set::SetArgs),
    /// Tell whether a path is backed up, by which rule not, and when it was last
    Why(cmd_why::WhyArgs),
    /// See what is saved, what is not yet, and what is wrong
    Status(cmd_status::StatusArgs),
    /// Back up by itself whenever something changes
    Daemon(cmd_daemon::DaemonArgs),
    /// List snapshots
    Snapshots(cmd_snapshots::SnapshotsArgs),
    /// List the files of a snapshot
    Ls(cmd_ls::LsArgs),
    /// Print one file of a snapshot
    Dump(cmd_dump::DumpArgs),
    /// Bring files back
    Restore(Box<cmd_restore::RestoreArgs>),
    /// Verify what is stored
    Check(cmd_check::CheckArgs),
    /// Let snapshots go: by name, or by rules that run once
    Forget(Box<cmd_forget::ForgetArgs>),
    /// Put together what is still needed of packs that are mostly unused
    Compact(cmd_compact::CompactArgs),
    /// See or change the rules by which the server lets snapshots go
    Policy(cmd_policy::PolicyArgs),
    /// Bring back what was forgotten or has expired
    Undelete(cmd_undelete::UndeleteArgs),
    /// Keep snapshots whatever the rules say
    Pin(cmd_pin::PinArgs),
    /// Hand them back to the rules
    Unpin(cmd_pin::UnpinArgs),
    /// See what the server holds about you, and who looked at it; erase it all
    Privacy(cmd_privacy::PrivacyArgs),
    /// Print the version
    Version(cmd_version::VersionArgs),
}

/// Which snapshots are meant.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which snapshots")]
pub struct SnapshotFilter {
    /// Only of this host
    #[arg(short = 'H', long, value_name = "NAME")]
    pub host: Vec<String>,
    /// Only with all of these tags (comma-separated); given again: or with these
    #[arg(long, value_name = "TAG[,TAG]…")]
    pub tag: Vec<values::TagList>,
    /// Only with this path among those backed up
    #[arg(long = "path", id = "filter_path", value_name = "PATH")]
    pub path: Vec<std::path::PathBuf>,
    /// Only of this device: its name or the beginning of its id
    #[arg(long, value_name = "DEVICE")]
    pub device: Vec<String>,
    /// Only of this set: the name that it was given, or its path
    #[arg(long, value_name = "NAME")]
    pub set: Vec<String>,
}

impl SnapshotFilter {
    /// Whether it narrows nothing down.
    pub fn is_empty(&self) -> bool {
        self.host.is_empty()
            && self.tag.is_empty()
            && self.path.is_empty()
            && self.device.is_empty()
            && self.set.is_empty()
    }
}

#[cfg(test)]
mod tests;
