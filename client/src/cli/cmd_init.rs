//! `backup init`: a new vault.

use std::path::{Path, PathBuf};

use tokio::runtime::Runtime;
use unseen_common::id::Hash;
use zeroize::Zeroizing;

use super::cmd_run::host_name;
use super::config::set_server;
use super::context::{Context, Setup};
use super::exit::{CliError, Exit};
use super::vault::{self, SystemClock};
use crate::crypto::rng::Hedged;
use crate::crypto::secret::Passphrase;
use crate::enrol::EnrolError;
use crate::enrol::init::{Made, Place, Wishes, init};
use crate::enrol::kit::{Challenge, Kit, KitFile};
use crate::enrol::strength::{Use, Verdict, judge};

/// What `init` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
Without an invitation the vault is a folder: the one of --local, or one of the program's own.
The recovery kit is printed, or written to the file of --kit. Without a terminal, --kit is needed.

Example:
  backup init --local /mnt/disk/vault --kit ~/kit.html")]
pub struct InitArgs {
    /// The invitation that a server's operator gave you
    #[arg(value_name = "INVITE-LINK", conflicts_with = "local")]
    pub invite: Option<String>,
    /// Make a local vault in this folder
    #[arg(long, value_name = "DIR")]
    pub local: Option<PathBuf>,
    /// Write the recovery kit to this file: .txt, or .html to print
    #[arg(long, value_name = "FILE")]
    pub kit: Option<PathBuf>,
    /// Name this device so [default: the host name]
    #[arg(long, value_name = "DEVICE-NAME")]
    pub name: Option<String>,
    /// Let the passphrase alone open the vault, on any machine: whoever steals the server's disk
    /// can then try to guess it
    #[arg(long)]
    pub passphrase_anywhere: bool,
    /// Accept a passphrase that is easy to guess
    #[arg(long, conflicts_with = "passphrase_anywhere")]
    pub allow_weak_passphrase: bool,
}

/// Makes a vault.
pub fn run(ctx: &Context<'_>, args: &InitArgs) -> Result<Exit, CliError> {
    let runtime = vault::runtime()?;
    make(ctx, args, &runtime)?;
    Ok(Exit::Done)
}

/// Where `run` puts the kit when it makes a vault without a terminal.
pub fn default_kit(ctx: &Context<'_>, setup: &Setup) -> Option<PathBuf> {
    let home = ctx.env.var("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let folder = home.unwrap_or_else(|| setup.places.data.clone());
    (!ctx.terminal.is_present()).then(|| folder.join("unseen-recovery-kit.txt"))
}

/// Makes a vault, and sees to it that its kit is kept.
pub fn make(ctx: &Context<'_>, args: &InitArgs, runtime: &Runtime) -> Result<(), CliError> {
    let setup = ctx.setup()?;
    if setup.places.device_key().exists() {
        return Err(EnrolError::AlreadyEnrolled(setup.places.device_key()).into());
    }
    if args.kit.is_none() && !ctx.terminal.is_present() {
        return Err(CliError::usage("without a terminal the recovery kit needs a file")
            .hint("add --kit FILE.txt or --kit FILE.html"));
    }
    // All that can be refused is, before anything is asked or made.
    let site = Site::find(&setup, args)?;
    let kit_file = args.kit.as_deref().map(KitFile::prepare).transpose()?;
    let name = args.name.clone().unwrap_or_else(host_name);
    let passphrase = passphrase(ctx, args, &name)?;
    let wishes = Wishes {
        passphrase: Passphrase::new(&passphrase)
            .map_err(|error| CliError::from_error(Exit::Usage, error))?,
        anywhere: args.passphrase_anywhere,
        device_name: name,
        kdf: None,
    };
    setup.places.create()?;
    let made =
        found(&setup, site, &wishes, runtime).inspect_err(|_| setup.places.remove_empty())?;
    set_server(&setup.places.config, &setup.name, &made.address)?;
    ctx.ui.status(&format!("made the vault {} at {}", made.vault.short(), made.address));
    hand_over_kit(ctx, kit_file, args.kit.as_deref(), &kit_of(&made))
}

fn found(setup: &Setup, site: Site, wishes: &Wishes, runtime: &Runtime) -> Result<Made, CliError> {
    let place = site.open()?;
    let folders = vault::folders(&setup.places);
    Ok(runtime.block_on(init(&place, wishes, &folders, &SystemClock))?)
}

fn kit_of(made: &Made) -> Kit {
    Kit {
        address: made.address.clone(),
        account: made.vault,
        code: made.code.to_text(),
        server_identity: Some(Hash::from_bytes(made.identity)),
        log_head: made.head,
        created: made.created,
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn hand_over_kit(
    ctx: &Context<'_>,
    file: Option<KitFile>,
    path: Option<&Path>,
    kit: &Kit,
) -> Result<(), CliError> {
    let print = || {
        for line in kit.to_text().lines() {
            ctx.ui.line(line);
        }
        ctx.ui.flush();
    };
    match (file, path) {
        (Some(file), Some(path)) => {
            // The vault is there, and nothing else opens it on another machine.
            kit.write(file).inspect_err(|_| print())?;
            ctx.ui.warn(&format!(
                "the recovery kit is in {}: print it or move it to a safe place, then delete it \
                 here. Without the kit and the passphrase nobody can ever restore",
                path.display()
            ));
        }
        _ => print(),
    }
    if ctx.terminal.is_present() && !ctx.global.yes {
        ask_back(ctx, kit)?;
    }
    Ok(())
}

/// Two groups of the code typed back show that the kit is in the owner's hands.
fn ask_back(ctx: &Context<'_>, kit: &Kit) -> Result<(), CliError> {
    let challenge = Challenge::draw(&mut Hedged::fresh());
    let [first, second] = challenge.numbers();
    for _ in 0..5 {
        let typed = ctx
            .terminal
            .ask(&format!("Type groups {first} and {second} of the recovery code from the kit: "))
            .map_err(|error| CliError::new(Exit::Failed, "no answer").because(error))?;
        if challenge.is_answered(&kit.code, &typed) {
            ctx.ui.status("The kit is yours. Keep it where this machine's fate cannot reach it.");
            return Ok(());
        }
        ctx.ui.status("That is not what the kit says.");
    }
    ctx.ui.warn("the vault is made, but the kit is not confirmed: make sure that you have it");
    Ok(())
}

fn passphrase(
    ctx: &Context<'_>,
    args: &InitArgs,
    name: &str,
) -> Result<Zeroizing<String>, CliError> {
    let purpose = if args.passphrase_anywhere { Use::Anywhere } else { Use::Enrolled };
    let given = ctx.secrets().new_passphrase_given()?;
    let typed = given.is_none();
    let mut text = match given {
        Some(text) => text,
        None => ctx.secrets().type_new_passphrase()?,
    };
    for _ in 0..5 {
        match judge(&text, &[name, "unseen", "backup"], purpose, args.allow_weak_passphrase) {
            Verdict::Strong => return Ok(text),
            Verdict::AcceptedWeak(weakness) => {
                ctx.ui.warn(&weakness.to_string());
                return Ok(text);
            }
            Verdict::Refused(weakness) if typed => {
                ctx.ui.warn(&weakness.to_string());
                text = ctx.secrets().type_new_passphrase()?;
            }
            Verdict::Refused(weakness) => {
                return Err(CliError::from_error(Exit::Usage, weakness).hint(
                    "four or five random words are strong; --allow-weak-passphrase insists",
                ));
            }
        }
    }
    Err(CliError::usage("no passphrase was strong enough"))
}

/// Where the vault is to be.
enum Site {
    Invited(Box<Place>),
    Folder(PathBuf),
}

impl Site {
    /// Makes nothing.
    fn find(setup: &Setup, args: &InitArgs) -> Result<Self, CliError> {
        if let Some(invite) = &args.invite {
            return Ok(Self::Invited(Box::new(vault::invited(invite)?)));
        }
        let folder = args.local.clone().unwrap_or_else(|| setup.places.local_vault());
        let folder = std::path::absolute(&folder)
            .map_err(|error| CliError::usage("--local names no folder").because(error))?;
        vault::address_of(&folder)?;
        if vault::is_vault(&folder) && !vault::open_folder(&folder)?.accounts.is_empty() {
            let message = format!("there is a vault in {} already", folder.display());
            return Err(CliError::new(Exit::Failed, message)
                .hint("`backup connect --local DIR` joins it with the recovery code"));
        }
        Ok(Self::Folder(folder))
    }

    fn open(self) -> Result<Place, CliError> {
        let folder = match self {
            Self::Invited(place) => return Ok(*place),
            Self::Folder(folder) => folder,
        };
        Ok(Place {
            address: vault::address_of(&folder)?,
            service: vault::open_folder(&folder)?.service,
            identity: None,
            tls_pin: None,
            invite: Vec::new(),
        })
    }
}
