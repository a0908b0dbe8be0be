//! `backup init`: a new vault.

use std::path::{Path, PathBuf};

use tokio::runtime::Runtime;
use unseen_server::vault::folder::{foreign, is_in_use};
use zeroize::Zeroizing;

use super::cmd_run::host_name;
use super::config::set_server;
use super::context::{Context, Setup};
use super::exit::{CliError, Exit};
use super::vault::{self, SystemClock};
use crate::crypto::secret::Passphrase;
use crate::enrol::earlier::check_unused;
use crate::enrol::init::{Made, NotMade, Place, Wishes, prepare};
use crate::enrol::kit::KitFile;
use crate::enrol::strength::{Use, Verdict, judge};

mod kit;

use kit::Handed;
pub use kit::{after_a_cut, cut_off};

/// What `init` takes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
Without an invitation the vault is a folder: the one of --local, or one of the program's own.
The recovery kit is printed, or written to the file of --kit. Without a terminal, --kit is needed.
The vault is made once you have the kit: until then nothing depends on it.

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

/// Makes a vault whose kit is in its owner's hands.
pub fn make(ctx: &Context<'_>, args: &InitArgs, runtime: &Runtime) -> Result<(), CliError> {
    let setup = ctx.setup()?;
    check_unused(&vault::folders(&setup.places)).map_err(|error| cut_off(error, &setup.places))?;
    if args.kit.is_none() && !ctx.terminal.is_present() {
        return Err(CliError::usage("without a terminal the recovery kit needs a file")
            .hint("add --kit FILE.txt or --kit FILE.html"));
    }
    // All that can be refused is, before anything is asked or made.
    let site = Site::find(&setup, args)?;
    let kit_file = args.kit.as_deref().map(KitFile::prepare).transpose();
    let kit_file = kit_file.map_err(|error| kit::in_the_way(error, &setup.places))?;
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
    let founding = Founding { ctx, setup: &setup, kit_file, runtime };
    let (made, kit) = founding.run(site, &wishes).inspect_err(|_| setup.places.remove_empty())?;
    ctx.ui.status(&format!("made the vault {} at {}", made.vault.short(), made.address));
    kit.keep(ctx);
    Ok(set_server(&setup.places.config, &setup.name, &made.address)?)
}

/// The making of a vault.
struct Founding<'a> {
    ctx: &'a Context<'a>,
    setup: &'a Setup,
    kit_file: Option<KitFile>,
    runtime: &'a Runtime,
}

impl<'a> Founding<'a> {
    /// First the kit, then the vault: whatever stops this in between, there is no vault without one.
    fn run(self, site: Site, wishes: &Wishes) -> Result<(Made, Handed<'a>), CliError> {
        let Self { ctx, setup, kit_file, runtime } = self;
        let place = site.open()?;
        let folders = vault::folders(&setup.places);
        let founding = runtime.block_on(prepare(&place, wishes, &SystemClock))?;
        let kit = kit::hand_over(ctx, &setup.places, kit_file, founding.made())?;
        match runtime.block_on(founding.create(&place, &folders)) {
            Ok(made) => Ok((made, kit)),
            Err(NotMade { error, certain: true }) => {
                kit.withdraw(ctx);
                Err(error.into())
            }
            Err(NotMade { error, certain: false }) => {
                kit.keep_for_now(ctx);
                Err(error.into())
            }
        }
    }
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
        check_folder(&folder)?;
        if is_in_use(&folder) && !vault::open_folder(&folder)?.accounts.is_empty() {
            let message = format!("there is a vault in {} already", folder.display());
            let hint = format!(
                "`backup connect --local {}` joins it with the recovery code",
                folder.display()
            );
            return Err(CliError::new(Exit::Failed, message).hint(hint));
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

/// Nobody wants the files of a vault among their own.
fn check_folder(folder: &Path) -> Result<(), CliError> {
    let looked = foreign(folder).map_err(|error| {
        let message = format!("{}: a vault cannot be made here", folder.display());
        CliError::new(Exit::Failed, message).because(error)
    })?;
    let Some(_name) = looked else {
        return Ok(());
    };
    let message = format!("{}: there are other files in this folder", folder.display());
    let own = folder.join("unseen");
    let hint = format!("give the vault a folder of its own: --local {}", own.display());
    Err(CliError::usage(message).hint(hint))
}

#[cfg(test)]
mod tests;
