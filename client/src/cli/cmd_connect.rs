//! `backup connect`: this machine joins a vault.

use std::path::PathBuf;

use super::cmd_run::host_name;
use super::config::set_server;
use super::context::Context;
use super::exit::{CliError, Exit};
use super::secrets::Secret;
use super::units::plural;
use super::vault::{self, SystemClock};
use crate::crypto::recovery::RecoveryCode;
use crate::crypto::secret::Passphrase;
use crate::enrol::EnrolError;
use crate::enrol::connect::{JoinOptions, Opener, connect};

/// What `connect` takes.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Asks for the recovery code, unless BACKUP_RECOVERY_CODE or BACKUP_PASSPHRASE gives a secret.

Example: everything back on a bare machine, with the kit at hand
  backup connect 'unseen://nas.home:8443/ACCOUNT?pin=…'
  backup restore latest --target /tmp/restored")]
pub struct ConnectArgs {
    /// The vault's address, as the kit has it
    #[arg(value_name = "SERVER", conflicts_with = "local")]
    pub server: Option<String>,
    /// A local vault in this folder
    #[arg(long, value_name = "DIR")]
    pub local: Option<PathBuf>,
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

/// Joins a vault.
pub fn run(ctx: &Context<'_>, args: &ConnectArgs) -> Result<Exit, CliError> {
    let runtime = vault::runtime()?;
    let setup = ctx.setup()?;
    if setup.places.device_key().exists() {
        return Err(EnrolError::AlreadyEnrolled(setup.places.device_key()).into());
    }
    let address = match (&args.server, &args.local) {
        (Some(address), _) => vault::parse(address)?,
        (None, Some(folder)) => {
            let folder = std::path::absolute(folder)
                .map_err(|error| CliError::usage("--local names no folder").because(error))?;
            vault::address_of(&folder)?
        }
        (None, None) => {
            return Err(CliError::usage("which vault?")
                .hint("give the address that the recovery kit shows, or --local DIR"));
        }
    };
    let target = vault::target(&address, &runtime)?;
    let opener = match ctx.secrets().to_connect()? {
        Secret::RecoveryCode(code) => Opener::Code(RecoveryCode::parse(&code)?),
        Secret::Passphrase(text) => Opener::Passphrase(
            Passphrase::new(&text).map_err(|error| CliError::from_error(Exit::Usage, error))?,
        ),
    };
    setup.places.create()?;
    let options = JoinOptions {
        device_name: args.name.clone().unwrap_or_else(host_name),
        replaces: args.replaces.clone(),
        backup_only: args.backup_only,
    };
    let places = vault::folders(&setup.places);
    let joined = runtime.block_on(connect(&target, &opener, &options, (&places, &SystemClock)))?;
    set_server(&setup.places.config, &setup.name, &target.address)?;
    if ctx.ui.is_json() {
        ctx.ui.json(&serde_json::json!({
            "message_type": "connected",
            "device": joined.device.to_string(),
            "replaced": joined.replaced,
            "devices": joined.devices,
            "snapshots": joined.snapshots,
        }));
        return Ok(Exit::Done);
    }
    if let Some(name) = &joined.replaced {
        ctx.ui.status(&format!("this machine takes the place of {name}, which is revoked"));
    }
    ctx.ui.status(&format!(
        "joined as device {}: {}, {}",
        joined.device.short(),
        plural(joined.devices as u64, "device", "devices"),
        plural(joined.snapshots as u64, "snapshot", "snapshots"),
    ));
    Ok(Exit::Done)
}
