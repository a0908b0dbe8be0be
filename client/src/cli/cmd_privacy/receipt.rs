//! `backup privacy receipt`: what a server signs when it has erased an account.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use tokio::runtime::Runtime;
use unseen_common::codec::Canonical;
use unseen_common::id::{Hash, VaultId};
use unseen_common::receipt::{ErasedBy, Receipt, SignedReceipt};
use unseen_common::wire::body::ReceiptBody;

use crate::cli::context::{Context, Setup};
use crate::cli::exit::{CliError, Exit};
use crate::cli::reading::{local_time, machine_time};
use crate::cli::units::{bytes, plural};
use crate::cli::vault;
use crate::remote::address::{Address, Target};

/// What `privacy receipt` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
With --json it can be kept: what was signed, the signature, and the key of the server. Whoever has
that can check it, on any machine, with --verify; the server need not be there any more.

Example:
  backup privacy receipt --json > receipt.json
  backup privacy receipt --verify receipt.json")]
pub struct ReceiptArgs {
    /// Check a receipt that was kept, without asking the server
    #[arg(long, value_name = "FILE")]
    pub verify: Option<PathBuf>,
}

/// A receipt in a file, as `--json` prints it here, or `account erase --json` on the server.
#[derive(Deserialize)]
struct Kept {
    receipt: serde_json::Value,
    signature: serde_json::Value,
}

/// A receipt is a few hundred bytes; a file that is much longer is none.
const LONGEST: u64 = 64 * 1024;

/// Shows or checks.
pub(super) fn run(
    ctx: &Context<'_>,
    args: &ReceiptArgs,
    runtime: &Runtime,
) -> Result<Exit, CliError> {
    let Some(file) = &args.verify else {
        let setup = ctx.setup()?;
        let (address, account, identity) = whereabouts(ctx, &setup)?;
        let opened = vault::open(&address, Arc::default())?;
        let signed = runtime.block_on(opened.service.erased(account))?;
        let receipt = open(&signed, account, &identity)?;
        show(ctx, (&receipt, signed), "signed by the server that this machine knows");
        return Ok(Exit::Done);
    };
    let signed = read(file)?;
    let told = Receipt::from_bytes(&signed.bytes).map_err(|error| none(file).because(error))?;
    // Whose server it should be is known where the vault is.
    let known = ctx.setup().and_then(|setup| whereabouts(ctx, &setup)).ok();
    let known = known.filter(|(_, account, _)| *account == told.account);
    let identity = known.as_ref().map_or(told.identity, |(_, _, identity)| *identity);
    let receipt = open(&signed, told.account, &identity)?;
    let whose = match known {
        Some(_) => "signed by the server that this machine knows".to_owned(),
        None => format!(
            "signed with the key {}; with --vault and the address in the kit it is checked that \
             this is the server's key",
            Hash::from_bytes(identity)
        ),
    };
    show(ctx, (&receipt, signed), &whose);
    Ok(Exit::Done)
}

fn open(
    signed: &SignedReceipt,
    account: VaultId,
    identity: &[u8; 32],
) -> Result<Receipt, CliError> {
    signed.open(account, identity).map_err(|error| {
        CliError::from_error(Exit::Failed, error).hint("do not take this for an erased vault")
    })
}

fn none(file: &Path) -> CliError {
    CliError::usage(format!("{} holds no receipt", file.display()))
        .hint("keep what `backup privacy receipt --json` prints")
}

fn read(file: &Path) -> Result<SignedReceipt, CliError> {
    let failed = |error| CliError::from_error(Exit::Failed, error);
    let length = std::fs::metadata(file).map_err(failed)?.len();
    if length > LONGEST {
        return Err(none(file));
    }
    let bytes = std::fs::read(file).map_err(failed)?;
    parse(&bytes).ok_or_else(|| none(file))
}

/// Both fields are read as the protocol has them; whatever else is in the document is left alone.
fn parse(bytes: &[u8]) -> Option<SignedReceipt> {
    let Kept { receipt, signature } = serde_json::from_slice(bytes).ok()?;
    let body = serde_json::json!({ "receipt": receipt, "signature": signature });
    serde_json::from_value::<ReceiptBody>(body).ok().map(SignedReceipt::from)
}

fn show(ctx: &Context<'_>, (receipt, signed): (&Receipt, SignedReceipt), whose: &str) {
    let Receipt { account, by, requested, erased, packs, bytes: stored, snapshots, .. } = *receipt;
    let by = match by {
        ErasedBy::Owner => "owner",
        ErasedBy::Operator => "operator",
    };
    if ctx.ui.is_json() {
        let body = ReceiptBody::from(signed);
        ctx.ui.json(&serde_json::json!({
            "message_type": "receipt",
            "account": account.to_string(),
            "by": by,
            "requested": machine_time(requested),
            "erased": machine_time(erased),
            "packs": packs,
            "bytes": stored,
            "snapshots": snapshots,
            "identity": Hash::from_bytes(receipt.identity).to_string(),
            "receipt": body.receipt,
            "signature": body.signature,
        }));
        return;
    }
    ctx.ui.line(&format!("account {account} was erased on {}", local_time(erased)));
    ctx.ui.line(&format!("asked for on {} by the {by}", local_time(requested)));
    ctx.ui.line(&format!(
        "{}, {}, {}; {whose}",
        plural(snapshots, "snapshot", "snapshots"),
        plural(packs, "pack", "packs"),
        bytes(stored)
    ));
}

/// The vault's address, its account, and the server's pinned identity key.
fn whereabouts(ctx: &Context<'_>, setup: &Setup) -> Result<(Address, VaultId, [u8; 32]), CliError> {
    if setup.places.device_key().exists() {
        let key = vault::device_key(setup)?;
        let text = ctx.global.vault.clone().unwrap_or_else(|| key.server.clone());
        return Ok((vault::parse(&text)?, key.vault, key.server_identity.to_bytes()));
    }
    let address = vault::parse(setup.vault()?)?;
    if let Address::Server(server) = &address
        && let Target::Account(account) = server.target
    {
        let identity = server.pin.identity;
        return Ok((address, account, identity));
    }
    Err(CliError::usage("which account? Give the address of the kit by --vault"))
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use unseen_common::time::Timestamp;

    use super::*;

    #[test]
    fn what_is_printed_can_be_read_and_checked() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let receipt = Receipt {
            account: VaultId::from_bytes([1; 16]),
            by: ErasedBy::Owner,
            requested: Timestamp(10),
            erased: Timestamp(20),
            packs: 3,
            bytes: 4,
            snapshots: 2,
            head: Hash::from_bytes([4; 32]),
            identity: key.verifying_key().to_bytes(),
        };
        let signed = SignedReceipt::sign(&receipt, &key);
        let body = ReceiptBody::from(signed.clone());
        let servers = serde_json::to_vec(&body).unwrap();
        assert_eq!(parse(&servers), Some(signed.clone()), "as the server prints it");
        let ours = serde_json::json!({
            "message_type": "receipt", "packs": 3, "receipt": body.receipt,
            "signature": body.signature,
        });
        assert_eq!(parse(ours.to_string().as_bytes()), Some(signed.clone()));
        assert_eq!(open(&signed, receipt.account, &receipt.identity).unwrap(), receipt);
        let mut forged = signed;
        forged.bytes[60] ^= 1;
        assert!(open(&forged, receipt.account, &receipt.identity).is_err());
        for bad in ["", "{}", "{\"receipt\":1,\"signature\":2}", "[1]"] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
