//! The kit on its way into its owner's hands: before the vault is made, and what becomes of it if
//! none is.

use std::path::{Path, PathBuf};

use unseen_common::id::Hash;

use crate::cli::context::Context;
use crate::cli::exit::{CliError, Exit};
use crate::cli::places::Places;
use crate::cli::vault;
use crate::crypto::rng::Hedged;
use crate::enrol::EnrolError;
use crate::enrol::earlier::is_begun;
use crate::enrol::init::Made;
use crate::enrol::kit::{self, Challenge, Kit, KitError, KitFile, Written};
use crate::pins::write_durably;

/// A kit that its owner has, of a vault that is not made yet.
pub(super) struct Handed<'a> {
    places: &'a Places,
    address: String,
    /// None if it was printed.
    file: Option<Written>,
}

/// Writes the kit or prints it, and asks for two groups of its code where somebody can be asked.
pub(super) fn hand_over<'a>(
    ctx: &Context<'_>,
    places: &'a Places,
    file: Option<KitFile>,
    made: &Made,
) -> Result<Handed<'a>, CliError> {
    let kit = kit_of(made);
    let file = file.map(|file| write(places, file, &kit)).transpose()?;
    if file.is_none() {
        for line in kit.to_text().lines() {
            ctx.ui.line(line);
        }
        ctx.ui.flush();
    }
    let handed = Handed { places, address: made.address.clone(), file };
    if ctx.terminal.is_present() && !ctx.global.yes {
        if let Some(path) = handed.path() {
            ctx.ui.status(&format!("the recovery kit is in {}", path.display()));
        }
        if let Err(error) = ask_back(ctx, &kit) {
            handed.withdraw(ctx);
            return Err(error);
        }
    }
    Ok(handed)
}

/// The note comes first: a kit that a killed program leaves behind can be named.
fn write(places: &Places, file: KitFile, kit: &Kit) -> Result<Written, CliError> {
    use std::os::unix::ffi::OsStrExt;
    let note = places.kit_note();
    let path = absolute(file.path());
    write_durably(&note, path.as_os_str().as_bytes()).map_err(|error| {
        CliError::new(Exit::Failed, format!("{}: cannot be written", note.display())).because(error)
    })?;
    file.write(kit).map_err(|error| {
        std::fs::remove_file(&note).ok();
        error.into()
    })
}

/// With the links in its folder followed, as a backup comes upon it.
fn absolute(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    match (folder, path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path,
    }
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

impl Handed<'_> {
    fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(Written::path)
    }

    /// The vault is made.
    pub(super) fn keep(self, ctx: &Context<'_>) {
        if let Some(path) = self.path() {
            ctx.ui.warn(&format!(
                "the recovery kit is in {}: print it, or move it to a place apart from this \
                 machine, then remove it here. Without the kit and the passphrase nobody can ever \
                 restore",
                path.display()
            ));
        }
    }

    /// No vault was made.
    pub(super) fn withdraw(self, ctx: &Context<'_>) {
        let Some(file) = self.file else {
            ctx.ui.warn("no vault was made: the recovery kit above opens nothing, throw it away");
            return;
        };
        let path = file.path().to_path_buf();
        std::fs::remove_file(self.places.kit_note()).ok();
        if file.remove() {
            let path = path.display();
            ctx.ui.warn(&format!("no vault was made: the recovery kit {path} is removed again"));
        } else {
            let path = path.display();
            ctx.ui.warn(&format!(
                "no vault was made: the recovery kit that was in {path} opens nothing, throw it away"
            ));
        }
    }

    /// Whether the vault was made is not known.
    pub(super) fn keep_for_now(self, ctx: &Context<'_>) {
        let (kit, connect) = match self.path() {
            Some(path) => (
                format!("the recovery kit {}", path.display()),
                format!("backup connect --kit {}", typed(path)),
            ),
            None => ("the kit above".to_owned(), format!("backup connect '{}'", self.address)),
        };
        ctx.ui.warn(&format!(
            "whether the vault was made is not known. Keep {kit}: `{connect}` tells, and goes on if \
             it was"
        ));
    }
}

/// Two groups of the code typed back show that the kit is in the owner's hands.
fn ask_back(ctx: &Context<'_>, kit: &Kit) -> Result<(), CliError> {
    let challenge = Challenge::draw(&mut Hedged::fresh());
    let [first, second] = challenge.numbers();
    for _ in 0..5 {
        let question =
            format!("Type groups {first} and {second} of the recovery code from the kit: ");
        let typed = ctx.terminal.ask(&question).map_err(|error| {
            CliError::new(Exit::WrongSecret, "the recovery kit was not confirmed").because(error)
        })?;
        if challenge.is_answered(&kit.code, &typed) {
            ctx.ui.status("The kit is yours. Keep it where this machine's fate cannot reach it.");
            return Ok(());
        }
        ctx.ui.status("That is not what the kit says.");
    }
    Err(CliError::new(Exit::WrongSecret, "the recovery kit was not confirmed").hint(
        "`backup init` again makes another; a group is five letters and digits between two dashes",
    ))
}

/// Keys of an `init` that was cut off stand in the way: how to go on.
pub fn cut_off(error: EnrolError, places: &Places) -> CliError {
    if !matches!(error, EnrolError::CutOff(_)) {
        return error.into();
    }
    let kit = places.kit().filter(|kit| kit.exists());
    let kit = kit.map_or_else(|| "FILE".to_owned(), |kit| typed(&kit));
    let remove = leftovers(places);
    CliError::from(error).hint(format!(
        "`backup connect --kit {kit}` goes on if that vault was made. If it finds none, {remove}"
    ))
}

/// What failed at a vault of which this machine has seen nothing but its own keys.
pub fn after_a_cut(error: CliError, places: &Places) -> CliError {
    let nothing_there = matches!(error.code(), Exit::WrongSecret | Exit::NoVault | Exit::Refused);
    if !nothing_there || !is_begun(&vault::folders(places)) {
        return error;
    }
    let remove = leftovers(places);
    error.hint(format!("an earlier `backup init` was cut off here and made no vault: {remove}"))
}

/// A file where the kit is to be: perhaps one of an `init` that was cut off before it had keys, so
/// that no vault can be of it.
pub(super) fn in_the_way(error: KitError, places: &Places) -> CliError {
    let useless = match &error {
        KitError::Exists { path } => {
            places.kit() == Some(absolute(path)) && kit::read(path).is_ok()
        }
        _ => false,
    };
    let error = CliError::from(error);
    if useless {
        error.hint(
            "it is of a `backup init` that was cut off before it made a vault, and opens nothing: \
             remove it, or name another file with --kit",
        )
    } else {
        error
    }
}

/// A path as it is typed in a shell.
fn typed(path: &Path) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+,@%".contains(c);
    let text = path.display().to_string();
    if text.chars().all(plain) { text } else { kit::quoted(&text) }
}

fn leftovers(places: &Places) -> String {
    let key = places.device_key();
    let kit = match places.kit().filter(|kit| kit.exists()) {
        Some(kit) => kit.display().to_string(),
        None => "the kit that it wrote".to_owned(),
    };
    format!("remove {} and {kit}, and run `backup init` again", key.display())
}
