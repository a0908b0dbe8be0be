//! `backup privacy`: what the server holds about this account, and the lever on it.

mod entries;
mod export;
mod receipt;

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::runtime::Runtime;
use unseen_common::disclosure::Level;
use unseen_common::log::entry::Body;
use unseen_common::log::policy::Policy;
use unseen_common::log::state::Change;
use unseen_common::privacy::{Held, Looked, Report, Statement, inventory};
use unseen_common::time::Clock as _;

use super::context::Context;
use super::deciding::tell_clocks;
use super::escape::escape_for_terminal;
use super::exit::{CliError, Exit};
use super::reading::{local_time, machine_time, unlock_vault};
use super::silence;
use super::units::{count, plural};
use super::vault::{self, SystemClock, erase_due};
use crate::maintain::policy::{last_word, waiting};
use crate::repo::OwnerRepo;

pub use export::ExportArgs;
pub use receipt::ReceiptArgs;

/// What `privacy` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
Everything that the server holds is declared in an inventory that is compiled into this program;
what the server tells is compared with it. -v shows where each thing is kept, what it is for, and
for how long.

Example:
  backup privacy
  backup privacy access-log")]
pub struct PrivacyArgs {
    /// What to do; shows all that is held without it
    #[command(subcommand)]
    pub command: Option<PrivacyCommand>,
}

/// The levers.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum PrivacyCommand {
    /// Show all that is held, field by field
    Show,
    /// Show when whoever runs the server looked at this account, or changed something
    #[command(after_help = "Example:\n  backup privacy access-log")]
    AccessLog,
    /// Change what snapshots may disclose from now on
    #[command(after_help = "Example:\n  backup privacy level none")]
    Level {
        /// none: times and status; summary: also files and bytes, two digits; types: also by kind
        #[arg(value_parser = level)]
        level: Level,
    },
    /// Write all that is held into one document that a program can read
    Export(ExportArgs),
    /// Have everything erased, seven days from now
    #[command(after_help = "Example:\n  backup privacy erase\n  backup privacy erase --cancel")]
    Erase {
        /// Stop that
        #[arg(long)]
        cancel: bool,
    },
    /// Show the server's receipt for an account that was erased, or check one that was kept
    Receipt(ReceiptArgs),
}

pub(super) fn level(text: &str) -> Result<Level, String> {
    match text {
        "none" => Ok(Level::None),
        "summary" => Ok(Level::Summary),
        "types" => Ok(Level::Types),
        _ => Err("one of none, summary, types".to_owned()),
    }
}

/// Shows or changes.
pub fn run(ctx: &Context<'_>, args: &PrivacyArgs) -> Result<Exit, CliError> {
    let runtime = vault::runtime()?;
    match args.command.as_ref().unwrap_or(&PrivacyCommand::Show) {
        PrivacyCommand::Show => show(ctx, &runtime),
        PrivacyCommand::AccessLog => access_log(ctx, &runtime),
        PrivacyCommand::Level { level } => set_level(ctx, *level, &runtime),
        PrivacyCommand::Export(args) => export::run(ctx, args, &runtime),
        PrivacyCommand::Erase { cancel: false } => erase(ctx, &runtime),
        PrivacyCommand::Erase { cancel: true } => cancel(ctx, &runtime),
        PrivacyCommand::Receipt(args) => receipt::run(ctx, args, &runtime),
    }
}

fn show(ctx: &Context<'_>, runtime: &Runtime) -> Result<Exit, CliError> {
    let setup = ctx.setup()?;
    let (repo, _) = vault::open_repository(ctx, &setup, (runtime, Arc::default()))?;
    let report = runtime.block_on(repo.vault.privacy())?;
    let statement = runtime.block_on(repo.service.describe())?.policy;
    let doubts = doubts(&report, &statement);
    if ctx.ui.is_json() {
        ctx.ui.json(&serde_json::json!({
            "message_type": "privacy",
            "addresses_logged": statement.addresses_logged,
            "held": report.held.iter().map(json_of).collect::<Vec<_>>(),
            "server": statement.fields,
            "silent": silence::json(&repo.log.state),
            "differences": doubts,
        }));
        return Ok(Exit::Done);
    }
    for held in &report.held {
        show_field(ctx, held);
    }
    ctx.ui.summary("");
    let addresses = if statement.addresses_logged {
        "This server may write network addresses to its log."
    } else {
        "By its own statement this server writes no network address anywhere."
    };
    ctx.ui.summary(addresses);
    ctx.ui.summary(
        "Out of reach: copies of the disk that whoever runs the server makes. `-v` says more; \
         `backup privacy erase` removes it all.",
    );
    for doubt in doubts {
        ctx.ui.warn(&doubt);
    }
    let this = repo.key.secrets.device;
    let name = |device| (device == this).then(|| "this machine".to_owned());
    silence::warn(ctx, &repo.log.state, &name);
    Ok(Exit::Done)
}

fn show_field(ctx: &Context<'_>, held: &Held) {
    let times = match held.times {
        Some((first, last)) if first == last => local_time(first),
        Some((first, last)) => format!("{} to {}", local_time(first), local_time(last)),
        None => String::new(),
    };
    let value = format!("{} {times}", escape_for_terminal(held.value.as_bytes()));
    let name = escape_for_terminal(held.name.as_bytes());
    let line = format!("{name:<24} {:>9}  {}", count(held.count), value.trim());
    ctx.ui.line(line.trim_end());
    let field = inventory::find(&held.name);
    if let Some(field) = field.filter(|_| ctx.ui.is_verbose(1)) {
        ctx.ui.line(&format!("    {}; in {}; {}", field.why, field.place, field.kept));
    }
}

fn json_of(held: &Held) -> serde_json::Value {
    let field = inventory::find(&held.name);
    serde_json::json!({
        "name": held.name,
        "count": held.count,
        "value": held.value,
        "first": held.times.map(|(first, _)| machine_time(first)),
        "last": held.times.map(|(_, last)| machine_time(last)),
        "place": field.map(|field| field.place.as_ref()),
        "why": field.map(|field| field.why.as_ref()),
        "kept": field.map(|field| field.kept.as_ref()),
    })
}

/// Where the server tells more or less than this program knows of.
fn doubts(report: &Report, statement: &Statement) -> Vec<String> {
    let told: BTreeSet<&str> = report.held.iter().map(|held| held.name.as_str()).collect();
    let mut doubts: Vec<String> = inventory::ACCOUNT
        .iter()
        .filter(|field| !told.contains(field.name.as_ref()))
        .map(|field| format!("the server does not tell what it holds of {}", field.name))
        .collect();
    let stated = statement.fields.iter().map(|field| field.name.as_ref());
    let unknown: BTreeSet<&str> =
        told.into_iter().chain(stated).filter(|name| inventory::find(name).is_none()).collect();
    doubts.extend(unknown.into_iter().map(|name| {
        let name = escape_for_terminal(name.as_bytes());
        format!("the server holds {name}, which this program does not know of: is it newer?")
    }));
    doubts
}

fn access_log(ctx: &Context<'_>, runtime: &Runtime) -> Result<Exit, CliError> {
    let setup = ctx.setup()?;
    let (repo, _) = vault::open_repository(ctx, &setup, (runtime, Arc::default()))?;
    let access = runtime.block_on(repo.vault.access())?;
    if ctx.ui.is_json() {
        let lines: Vec<_> = access
            .iter()
            .map(|line| serde_json::json!({ "time": machine_time(line.at), "what": line.what }))
            .collect();
        ctx.ui.json(&serde_json::json!({ "message_type": "access_log", "access": lines }));
        return Ok(Exit::Done);
    }
    for line in &access {
        ctx.ui.line(&format!("{}  {}", local_time(line.at), words(line.what)));
    }
    ctx.ui.summary(&format!(
        "{} by the server's commands. It cannot tell of copies made beside them.",
        plural(access.len() as u64, "look", "looks")
    ));
    Ok(Exit::Done)
}

const fn words(what: Looked) -> &'static str {
    match what {
        Looked::List => "listed among all accounts",
        Looked::Show => "shown by itself",
        Looked::Quota => "quota changed",
        Looked::Suspend => "suspended",
        Looked::Resume => "resumed",
        Looked::Scrub => "looked at for damage",
        Looked::Copy => "copied into another folder",
        Looked::Rebuild => "journal made anew",
    }
}

/// Asks for a secret and opens the vault to decide about it.
fn as_owner(ctx: &Context<'_>, runtime: &Runtime) -> Result<OwnerRepo, CliError> {
    let unlocking = unlock_vault(ctx, runtime)?;
    let folders = vault::folders(&unlocking.setup.places);
    let place = unlocking.place(&folders);
    let service = &unlocking.opened.service;
    let clock = Arc::new(SystemClock);
    let owner = OwnerRepo::open(service, place, &unlocking.unlocked, clock);
    let owner = runtime.block_on(owner)?;
    unlocking.check_slots(&owner.log.state)?;
    tell_clocks(ctx, &owner);
    Ok(owner)
}

fn set_level(ctx: &Context<'_>, level: Level, runtime: &Runtime) -> Result<Exit, CliError> {
    let mut owner = as_owner(ctx, runtime)?;
    let now = owner.log.state.head_received.max(SystemClock.now());
    // What waits is the owner's word, too: it is not to be lost by this.
    let policy = last_word(&owner.log.state, now);
    if policy.disclosure != level {
        let body = Body::Policy(Policy { disclosure: level, ..policy.clone() });
        runtime.block_on(owner.append(body))?;
    }
    let state = &owner.log.state;
    let waits = waiting(state, now).filter(|_| state.policy_at(now).disclosure != level);
    let effective = waits.map(|(pending, _)| pending.effective);
    let told = match level {
        Level::None => "times and status alone",
        Level::Summary => "times, status, and the number of files and bytes to two digits",
        Level::Types => "times, status, files and bytes to two digits, in all and by kind of file",
    };
    if ctx.ui.is_json() {
        ctx.ui.json(&serde_json::json!({
            "message_type": "privacy_level",
            "level": level,
            "effective": effective.map(machine_time),
        }));
        return Ok(Exit::Done);
    }
    match effective {
        None => ctx.ui.summary(&format!("new snapshots disclose {told}")),
        Some(at) => {
            ctx.ui.summary(&format!("from {} on new snapshots disclose {told}", local_time(at)));
            ctx.ui.summary(
                "a change of the policy waits until then, and this is part of it now; for this \
                 alone and at once, first stop that one: `backup policy cancel`",
            );
        }
    }
    Ok(Exit::Done)
}

fn erase(ctx: &Context<'_>, runtime: &Runtime) -> Result<Exit, CliError> {
    let question = "Have the server erase this vault: all snapshots, of all devices?";
    if !ctx.confirm(question) {
        return Err(CliError::new(Exit::Failed, "nothing was erased: it was not confirmed")
            .hint("answer with y, or give --yes"));
    }
    let mut owner = as_owner(ctx, runtime)?;
    if erase_due(&owner.log.state).is_none() {
        runtime.block_on(owner.append(Body::Erase))?;
    }
    let due = erase_due(&owner.log.state)
        .ok_or_else(|| CliError::new(Exit::Failed, "the server did not take the wish to erase"))?;
    if ctx.ui.is_json() {
        let due = machine_time(due);
        ctx.ui.json(&serde_json::json!({ "message_type": "erase", "due": due }));
    } else {
        ctx.ui.summary(&format!("the vault will be erased on {}", local_time(due)));
        ctx.ui.summary(
            "until then `backup privacy erase --cancel` stops it; afterwards `backup privacy \
             receipt` shows the server's receipt",
        );
    }
    Ok(Exit::Done)
}

fn cancel(ctx: &Context<'_>, runtime: &Runtime) -> Result<Exit, CliError> {
    let mut owner = as_owner(ctx, runtime)?;
    let pending = owner.log.state.pending.iter().find(|p| p.change == Change::Erase);
    let Some(seq) = pending.map(|pending| pending.seq) else {
        return Err(CliError::new(Exit::Failed, "nobody wanted this vault to be erased"));
    };
    runtime.block_on(owner.append(Body::Cancel { seq }))?;
    if ctx.ui.is_json() {
        ctx.ui.json(&serde_json::json!({ "message_type": "erase", "due": null }));
    } else {
        ctx.ui.summary("the vault stays");
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    fn held(name: &str) -> Held {
        Held { name: name.to_owned(), count: 1, value: String::new(), times: None }
    }

    #[test]
    fn what_the_server_tells_is_compared_with_the_inventory() {
        let held_of_all = inventory::ACCOUNT.iter().map(|field| held(&field.name)).collect();
        let whole = Report { held: held_of_all, ..Report::default() };
        let statement = inventory::statement();
        assert_eq!(doubts(&whole, &statement), [""; 0]);

        let mut less = whole.clone();
        less.held.retain(|held| held.name != "pack.received");
        assert_eq!(
            doubts(&less, &statement),
            ["the server does not tell what it holds of pack.received"]
        );
        let mut more = whole.clone();
        more.held.push(held("account.email"));
        let mut stated = statement.clone();
        let mut field = stated.fields[0].clone();
        field.name = Cow::Borrowed("log.addresses\u{1b}[2J");
        stated.fields.push(field);
        let found = doubts(&more, &stated);
        assert_eq!(found.len(), 2);
        assert!(found[0].contains("account.email"));
        assert!(found[1].contains("log.addresses") && !found[1].contains('\u{1b}'));
    }
}
