//! `backup connect --moved`: the vault's server has another address or another TLS key.

use std::sync::Arc;

use super::cmd_daemon::daemon_status;
use super::config::set_server;
use super::context::{Context, Setup};
use super::exit::{CliError, Exit};
use super::vault;
use crate::crypto::device_file::DeviceKey;
use crate::daemon::control::{Call, CallError, Request};
use crate::remote::address::{Address, Target};

/// What stands for the account in the address that a server prints.
const ACCOUNT: &str = "/ACCOUNT?";

/// Takes a new address for the vault that this machine is enrolled in. Nothing is changed unless
/// that vault is there, with a history that goes on from what this machine remembers.
pub fn run(ctx: &Context<'_>, text: &str) -> Result<Exit, CliError> {
    let setup = ctx.setup()?;
    let key = vault::device_key(&setup)?;
    let address = address(text, &key)?;
    let runtime = vault::runtime()?;
    let moved = Setup { vault: Some(address.clone()), ..setup.clone() };
    let (repo, _) = vault::log_in(&moved, (&runtime, Arc::default()))?;
    drop(repo);
    set_server(&setup.places.config, &setup.name, &address)?;
    if ctx.ui.is_json() {
        ctx.ui.json(&serde_json::json!({ "message_type": "moved", "server": address }));
    } else {
        ctx.ui.status(&format!("the vault is there; from now on it is used at {address}"));
        ctx.ui.status("write this address into the recovery kit, too");
    }
    tell_daemon(ctx, &setup, &address);
    Ok(Exit::Done)
}

/// A daemon takes the address with its next run, and tries at once what has failed.
fn tell_daemon(ctx: &Context<'_>, setup: &Setup, address: &str) {
    let told = Call::send(&setup.places.sockets(), &Request::Reload).and_then(Call::only);
    match told.and_then(|_| daemon_status(&setup.places)) {
        Err(CallError::NotRunning) | Ok(None) => {}
        Ok(Some(daemon)) if daemon.vault == address => {
            ctx.ui.status("the daemon uses it from its next run on");
        }
        Ok(Some(daemon)) => ctx.ui.warn(&format!(
            "the daemon goes on with {}, as it was started with --vault: start it anew without",
            daemon.vault
        )),
        Err(error) => {
            let error = CliError::from(error);
            let text = format!("the daemon may not know it yet: {}", error.report());
            ctx.ui.advise(&text, error.hint_text());
        }
    }
}

/// The address, if it is of the vault and the server that this machine knows.
fn address(text: &str, key: &DeviceKey) -> Result<String, CliError> {
    let text = text.replacen(ACCOUNT, &format!("/{}?", key.vault), 1);
    let address = vault::parse(&text)?;
    let Address::Server(server) = &address else {
        return Err(CliError::usage("--moved takes the address of a vault on a server"));
    };
    if server.target != Target::Account(key.vault) {
        return Err(CliError::usage("this is the address of another vault, or an invitation")
            .hint("`backup connect ADDRESS` joins another vault"));
    }
    if server.pin.identity != key.server_identity.to_bytes() {
        let message = "this is the address of another server: its identity key is not the one that \
                       this vault was made with";
        return Err(CliError::new(Exit::ServerKey, message)
            .hint("an identity key is never changed; nothing was sent"));
    }
    Ok(address.to_string())
}
