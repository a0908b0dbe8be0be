//! `backup connect`: this machine joins a vault.

use std::path::PathBuf;

use super::cmd_init::{after_a_cut, cut_off};
use super::cmd_moved;
use super::cmd_run::host_name;
use super::config::set_server;
use super::context::{Context, Setup};
use super::escape::escape_for_terminal;
use super::exit::{CliError, Exit};
use super::secrets::Secret;
use super::units::plural;
use super::vault::{self, SystemClock};
use crate::crypto::recovery::RecoveryCode;
use crate::crypto::secret::Passphrase;
use crate::enrol::EnrolError;
use crate::enrol::connect::{JoinOptions, Joined, Opener, connect};
use crate::enrol::earlier::Earlier;
use crate::enrol::kit::{self, ReadKit};
use crate::remote::address::Address;
use crate::repo::KitHead;

/// What `connect` takes.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Asks for the recovery code, unless BACKUP_RECOVERY_CODE or BACKUP_PASSPHRASE gives a secret.

Example: everything back on a bare machine, with the kit at hand
  backup connect 'unseen://nas.home:8443/ACCOUNT?pin=…'
  backup connect --kit /media/usb/kit.txt
  backup restore latest --target /tmp/restored

Example: whoever runs the server told a new address
  backup connect --moved 'unseen://nas.home:8443/ACCOUNT?pin=…'")]
pub struct ConnectArgs {
    /// The vault's address, as the kit has it
    #[arg(value_name = "SERVER", conflicts_with = "local")]
    pub server: Option<String>,
    /// A local vault in this folder
    #[arg(long, value_name = "DIR")]
    pub local: Option<PathBuf>,
    /// Take address, recovery code and log record from this file of the recovery kit
    #[arg(long, value_name = "FILE")]
    pub kit: Option<PathBuf>,
    /// The server of this machine's vault has moved, or has a new TLS key: the address that it
    /// prints
    #[arg(
        long,
        value_name = "ADDRESS",
        conflicts_with_all = ["server", "local", "kit", "log_head", "replaces", "backup_only", "name"]
    )]
    pub moved: Option<String>,
    /// The log record that the kit names: a server that hides what came before it is found out
    #[arg(long, value_name = "NUMBER:WORDS", conflicts_with = "kit")]
    pub log_head: Option<KitHead>,
    /// Take the place of this device: what it uploaded counts as this one's, and it is revoked
    #[arg(long, value_name = "DEVICE")]
    pub replaces: Option<String>,
    /// Keep nothing here that helps to open a backup: for servers
    #[arg(long)]
    pub backup_only: bool,
    /// Name this device so [default: the host name]
    #[arg(long, value_name = "DEVICE-NAME")]
    pub name: Option<String>,
}

const NO_VAULT_OF_KIT: &str = "the code in this kit is whole. So the vault was erased or its \
    code replaced, or the `backup init` that wrote this kit was cut off before it made one";

/// Joins a vault.
pub fn run(ctx: &Context<'_>, args: &ConnectArgs) -> Result<Exit, CliError> {
    if let Some(address) = &args.moved {
        return cmd_moved::run(ctx, address);
    }
    let kit = args.kit.as_deref().map(kit::read).transpose()?;
    let setup = ctx.setup()?;
    let address = address(args, kit.as_ref(), &setup)?;
    let runtime = vault::runtime()?;
    let nothing_there = |error| after_a_cut(error, &setup.places);
    let target = vault::target(ctx, &address, &runtime).map_err(nothing_there)?;
    let folders = vault::folders(&setup.places);
    let earlier = Earlier::find(&folders, target.account, args.replaces.as_deref())
        .map_err(|error| cut_off(error, &setup.places))?;
    let by_kit = kit.is_some();
    let (opener, head) = match kit {
        Some(kit) => (Opener::Code(kit.code), Some(kit.head)),
        None => (opener(ctx)?, args.log_head.clone()),
    };
    setup.places.create()?;
    let options = JoinOptions {
        device_name: args.name.clone().unwrap_or_else(host_name),
        replaces: args.replaces.clone(),
        backup_only: args.backup_only,
        kit: head,
    };
    let joining = connect(&target, &opener, &options, (&folders, earlier), &SystemClock);
    let joined = runtime.block_on(joining).map_err(|error| {
        setup.places.remove_empty();
        let wrong = matches!(error, EnrolError::WrongSecret);
        let error = CliError::from(error);
        nothing_there(if wrong && by_kit { error.hint(NO_VAULT_OF_KIT) } else { error })
    })?;
    set_server(&setup.places.config, &setup.name, &target.address)?;
    report(ctx, &joined);
    Ok(Exit::Done)
}

fn address(args: &ConnectArgs, kit: Option<&ReadKit>, setup: &Setup) -> Result<Address, CliError> {
    if let Some(folder) = &args.local {
        let folder = std::path::absolute(folder)
            .map_err(|error| CliError::usage("--local names no folder").because(error))?;
        return vault::address_of(&folder);
    }
    let kits = kit.map(|kit| kit.address.as_str());
    // This machine may have been connected before.
    match args.server.as_deref().or(kits).or(setup.vault.as_deref()) {
        Some(address) => vault::parse(address),
        None => Err(CliError::usage("which vault?")
            .hint("give the address that the recovery kit shows, --kit FILE or --local DIR")),
    }
}

fn opener(ctx: &Context<'_>) -> Result<Opener, CliError> {
    Ok(match ctx.secrets().to_connect()? {
        Secret::RecoveryCode(code) => Opener::Code(RecoveryCode::parse(&code)?),
        Secret::Passphrase(text) => Opener::Passphrase(
            Passphrase::new(&text).map_err(|error| CliError::from_error(Exit::Usage, error))?,
        ),
    })
}

fn report(ctx: &Context<'_>, joined: &Joined) {
    if ctx.ui.is_json() {
        ctx.ui.json(&serde_json::json!({
            "message_type": "connected",
            "device": joined.device.to_string(),
            "already": joined.already,
            "replaced": joined.replaced,
            "devices": joined.devices,
            "snapshots": joined.snapshots,
        }));
        return;
    }
    if let Some(name) = &joined.replaced {
        let name = escape_for_terminal(name.as_bytes());
        ctx.ui.status(&format!("this machine takes the place of {name}, which is revoked"));
    }
    ctx.ui.status(&format!(
        "{} device {}: {}, {}",
        if joined.already { "this machine had joined as" } else { "joined as" },
        joined.device.short(),
        plural(joined.devices as u64, "device", "devices"),
        plural(joined.snapshots as u64, "snapshot", "snapshots"),
    ));
}
