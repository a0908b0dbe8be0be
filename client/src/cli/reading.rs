//! What the commands share that read a vault: the secret, the index, the snapshot that is meant.

use std::sync::Arc;

use tokio::runtime::Runtime;
use unseen_common::id::{DeviceId, Hash, VaultId};
use unseen_common::log::entry::Status;
use unseen_common::log::state::State;
use unseen_common::time::Timestamp;

use super::args::SnapshotFilter;
use super::args::values::SnapshotPath;
use super::context::{Context, Setup};
use super::escape::escape_for_terminal;
use super::exit::{CliError, Exit};
use super::secrets::{Secret, meant_as_code};
use super::units::{Align, Table};
use super::vault::{self, Opened};
use crate::browse::chunks::Chunks;
use crate::browse::finding::open_for_little;
use crate::browse::packs::Packs;
use crate::browse::resolve::{Chosen, Filter, ResolveError, Wanted, parse, parse_path, resolve};
use crate::browse::snapshots::{Listed, SnapshotError};
use crate::crypto::recovery::{RecoveryCode, RecoveryCodeError};
use crate::crypto::schedule::Unlocked;
use crate::crypto::secret::Passphrase;
use crate::enrol::EnrolError;
use crate::enrol::connect::{Opener, check_slots, open_anywhere};
use crate::progress::Silent;
use crate::repo::Folders;
use crate::repo::reader::{Place, ReaderIndex, ReaderRepo};
use crate::repo::unlock::{UnlockError, UnlockSecret, fetch_slots, unlock};
use crate::sets::name;

/// How often somebody at a terminal may type what unlocks.
const TRIES: u8 = 3;
/// A machine that has no share of the passphrase was asked to read.
const BACKUP_ONLY: &str = "this machine was connected with --backup-only, so that a passphrase \
    does not open the vault here: give the recovery code of the kit (BACKUP_RECOVERY_CODE)";

/// How much of a snapshot is going to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// All of it, as far as anybody knows: all tables of contents are fetched first.
    Much,
    /// A part of it.
    Little,
}

/// A vault opened for reading, and where its local files are.
#[derive(Debug)]
pub struct Reading {
    /// The vault.
    pub repo: ReaderRepo,
    /// The profile.
    pub setup: Setup,
    /// Where the vault is.
    pub opened: Opened,
}

/// A vault whose secret was told, before anything is asked of it.
#[derive(Debug)]
pub struct Unlocking {
    /// The profile.
    pub setup: Setup,
    /// Where the vault is.
    pub opened: Opened,
    /// The account.
    pub account: VaultId,
    /// The server's pinned identity key.
    pub identity: [u8; 32],
    /// What the slot held. To be dropped as soon as the command has what it needs.
    pub unlocked: Unlocked,
    /// The device that this machine is enrolled as.
    device: Option<DeviceId>,
    /// The slots that were handed out without a log to compare them with.
    slots: Option<Hash>,
}

impl Unlocking {
    /// Where the vault is, for the engines.
    pub fn place<'f>(&self, folders: &'f Folders) -> Place<'f> {
        let Self { account, identity, device, .. } = *self;
        Place { account, identity, folders, kit: None, device }
    }

    /// The slots must be those of the log.
    pub fn check_slots(&self, state: &State) -> Result<(), CliError> {
        Ok(self.slots.map_or(Ok(()), |slots| check_slots(state, slots))?)
    }
}

/// Asks for a secret and opens the vault with it: on an enrolled machine by the vault's slots, on
/// another one, named by `--vault`, by recovery code.
pub fn open(ctx: &Context<'_>, runtime: &Runtime) -> Result<Reading, CliError> {
    with(unlock_vault(ctx, runtime)?, runtime)
}

/// Opens the vault for reading. The root secret is gone afterwards.
pub fn with(unlocking: Unlocking, runtime: &Runtime) -> Result<Reading, CliError> {
    let folders = vault::folders(&unlocking.setup.places);
    let place = unlocking.place(&folders);
    let Unlocking { setup, opened, unlocked, slots, .. } = unlocking;
    let repo = runtime.block_on(ReaderRepo::open(&opened.service, place, unlocked))?;
    if let Some(slots) = slots {
        check_slots(&repo.log.state, slots)?;
    }
    Ok(Reading { repo, setup, opened })
}

/// Asks for a secret and opens a slot with it.
pub fn unlock_vault(ctx: &Context<'_>, runtime: &Runtime) -> Result<Unlocking, CliError> {
    let setup = ctx.setup()?;
    if !setup.places.device_key().exists() {
        let address = vault::parse(setup.vault()?)?;
        setup.places.create()?;
        return by_code(ctx, (setup, None), &address, runtime);
    }
    let (repo, opened) = vault::open_repository(ctx, &setup, (runtime, Arc::default()))?;
    let device = Some(repo.key.secrets.device);
    if repo.key.share.is_none() {
        // A machine that only backs up may not see the slots: the code fetches them by itself.
        let address = setup.vault.clone().unwrap_or_else(|| repo.key.server.clone());
        drop((repo, opened));
        return by_code(ctx, (setup, device), &vault::parse(&address)?, runtime);
    }
    let slots = runtime.block_on(fetch_slots::<CliError>(&*repo.vault))?;
    let expected = Some(repo.log.state.slots.hash);
    let mut tries = if ctx.secrets().will_ask() { TRIES } else { 1 };
    let unlocked = loop {
        let given = ctx.secrets().to_unlock()?;
        let secret = match &given {
            Secret::RecoveryCode(code) => UnlockSecret::Code(RecoveryCode::parse(code)?),
            Secret::Passphrase(text) => UnlockSecret::Passphrase(passphrase(text)?),
        };
        tries -= 1;
        match unlock(&slots, &secret, expected, repo.key.share.as_ref()) {
            Ok(unlocked) => break unlocked,
            Err(UnlockError::WrongSecret { .. }) if tries > 0 => {
                let typo = typo(&given).map(|typo| format!("; as a recovery code: {typo}"));
                ctx.ui.warn(&format!("this does not open it{}", typo.unwrap_or_default()));
            }
            Err(error) => return Err(wrong(error, &given)),
        }
    };
    let (account, identity) = (repo.key.vault, repo.key.server_identity.to_bytes());
    Ok(Unlocking { setup, opened, account, identity, unlocked, device, slots: None })
}

fn by_code(
    ctx: &Context<'_>,
    (setup, device): (Setup, Option<DeviceId>),
    address: &crate::remote::address::Address,
    runtime: &Runtime,
) -> Result<Unlocking, CliError> {
    let opener = match ctx.secrets().to_connect()? {
        Secret::RecoveryCode(code) => Opener::Code(RecoveryCode::parse(&code)?),
        Secret::Passphrase(text) => Opener::Passphrase(passphrase(&text)?),
    };
    let target = vault::target(ctx, address, runtime)?;
    let (unlocked, slots) = runtime.block_on(open_anywhere(&target, &opener)).map_err(|error| {
        match (&opener, device, &error) {
            (Opener::Passphrase(_), Some(_), EnrolError::WrongSecret) => {
                CliError::from(error).hint(BACKUP_ONLY)
            }
            _ => error.into(),
        }
    })?;
    let folder = vault::folder_of(address);
    let (account, identity) = (target.account, target.identity);
    let opened = Opened { service: target.service, accounts: Vec::new(), folder, sweeper: None };
    Ok(Unlocking { setup, opened, account, identity, unlocked, device, slots: Some(slots) })
}

/// What is wrong with it as a recovery code, if it was meant as one.
fn typo(given: &Secret) -> Option<RecoveryCodeError> {
    match given {
        Secret::Passphrase(text) => meant_as_code(text),
        Secret::RecoveryCode(_) => None,
    }
}

/// A code with a typing error is tried as a passphrase; then the error is named.
fn wrong(error: UnlockError, given: &Secret) -> CliError {
    let meant = matches!(error, UnlockError::WrongSecret { .. }).then(|| typo(given)).flatten();
    let error = CliError::from(error);
    match meant {
        Some(typo) => error.hint(format!("if that was the recovery code of the kit: {typo}")),
        None => error,
    }
}

fn passphrase(text: &str) -> Result<Passphrase, CliError> {
    Passphrase::new(text).map_err(|error| CliError::from_error(Exit::WrongSecret, error))
}

impl Reading {
    /// Where every chunk is. Says so if tables of contents are damaged.
    pub fn index(&self, ctx: &Context<'_>, runtime: &Runtime) -> Result<ReaderIndex, CliError> {
        let dir = self.repo.folders.reader_index();
        let index = runtime.block_on(self.repo.open_index(&dir))?;
        tell_damaged(ctx, &index);
        Ok(index)
    }

    /// Finds a snapshot and reads in it.
    pub fn look<T>(
        &self,
        ctx: &Context<'_>,
        named: (&SnapshotPath, &SnapshotFilter),
        runtime: &Runtime,
        act: impl FnOnce(&Chosen, &mut Chunks<'_>) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        let (chosen, index) = self.choose_with_index(ctx, named, Want::Little, runtime)?;
        let packs = Packs::new(&self.repo, &index, &Silent, runtime.handle());
        let within = runtime.block_on(self.repo.vault.packs_of(chosen.snapshot.id))?;
        act(&chosen, &mut Chunks::new(&packs, Arc::new(within.0)))
    }

    /// The snapshot that is meant.
    pub fn choose(
        &self,
        ctx: &Context<'_>,
        (named, filter): (&SnapshotPath, &SnapshotFilter),
        runtime: &Runtime,
    ) -> Result<Chosen, CliError> {
        let (wanted, filter) = (wanted(named)?, one_filter(filter)?);
        let chosen = runtime.block_on(resolve(&self.repo, &wanted, &filter));
        tell_chosen(ctx, (named, &filter), chosen)
    }

    /// The snapshot that is meant, and where every chunk is: asked for at the same time.
    pub fn choose_with_index(
        &self,
        ctx: &Context<'_>,
        (named, filter): (&SnapshotPath, &SnapshotFilter),
        want: Want,
        runtime: &Runtime,
    ) -> Result<(Chosen, ReaderIndex), CliError> {
        let (wanted, filter) = (wanted(named)?, one_filter(filter)?);
        let dir = self.repo.folders.reader_index();
        let (repo, meant) = (&self.repo, (&wanted, &filter));
        let (chosen, index) = runtime.block_on(async {
            // From a disk of this machine all tables are there at once.
            if want == Want::Little && !repo.is_local() {
                return open_for_little(repo, &dir, meant).await;
            }
            // The longest first: it gets the connection that is open.
            let index = repo.open_index(&dir);
            let (index, chosen) = tokio::join!(biased; index, resolve(repo, meant.0, meant.1));
            (chosen, index)
        });
        let chosen = tell_chosen(ctx, (named, &filter), chosen)?;
        let index = index?;
        tell_damaged(ctx, &index);
        Ok((chosen, index))
    }
}

fn tell_damaged(ctx: &Context<'_>, index: &ReaderIndex) {
    for damaged in index.damaged() {
        ctx.ui.warn(&format!("{}: what is in it cannot be read", damaged.error));
    }
}

fn tell_chosen(
    ctx: &Context<'_>,
    (named, filter): (&SnapshotPath, &Filter),
    chosen: Result<Chosen, ResolveError>,
) -> Result<Chosen, CliError> {
    let chosen = chosen.map_err(|error| refused(ctx, (named, filter), error))?;
    if chosen.only_checkpoint {
        ctx.ui.warn("there is no whole snapshot: this is a checkpoint of one that was begun");
    } else if chosen.snapshot.status == Status::Partial {
        ctx.ui.status("some files of this snapshot could not be read when it was made");
    }
    if !chosen.snapshot.trusted {
        ctx.ui.warn("this snapshot was made by a device after it was revoked: do not trust it");
    }
    Ok(chosen)
}

fn wanted(named: &SnapshotPath) -> Result<Wanted, CliError> {
    let mut wanted = parse(&named.snapshot).map_err(|e| CliError::from_error(Exit::Usage, e))?;
    if let Some(path) = &named.path {
        let bytes = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str());
        let path = parse_path(bytes).map_err(|e| CliError::from_error(Exit::Usage, e))?;
        wanted.path = Some(path);
    }
    Ok(wanted)
}

/// The filter of the engine. Several values of one kind are not narrowed down further here.
pub fn one_filter(filter: &SnapshotFilter) -> Result<Filter, CliError> {
    let one = |values: &[String], what: &str| match values {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        _ => Err(CliError::usage(format!("--{what} can be given once"))),
    };
    let path = match filter.path.as_slice() {
        [] => None,
        [path] => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            Some(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec())
        }
        _ => return Err(CliError::usage("--path can be given once")),
    };
    Ok(Filter {
        set: one(&filter.set, "set")?.map(|text| set_name(&text)).transpose()?,
        device: one(&filter.device, "device")?,
        host: one(&filter.host, "host")?,
        path,
        tags: filter.tag.iter().map(|list| list.0.clone()).collect(),
    })
}

/// The set that was typed.
pub fn set_name(text: &str) -> Result<String, CliError> {
    name::typed(text).map_err(|error| CliError::from_error(Exit::Usage, error))
}

fn refused(
    ctx: &Context<'_>,
    (named, filter): (&SnapshotPath, &Filter),
    error: ResolveError,
) -> CliError {
    // Who gives a path may well mean a part of the snapshot.
    let part = filter.path.as_ref().map(|path| {
        let part = format!("{}:{}", named.snapshot, escape_for_terminal(path));
        format!("--path takes what was backed up as a whole; a part of a snapshot is {part}")
    });
    match error {
        error @ ResolveError::Filtered { .. } => {
            let hint = part.unwrap_or_else(|| "an id alone is enough to name one".to_owned());
            CliError::from_error(Exit::Failed, error).hint(hint)
        }
        error @ ResolveError::None { filtered: true } if part.is_some() => {
            let hint = format!("{}; `backup snapshots` lists them", part.unwrap_or_default());
            CliError::from_error(Exit::Failed, error).hint(hint)
        }
        ResolveError::SeveralSets { newest } => {
            for line in choice(&newest).lines() {
                ctx.ui.status(&line);
            }
            CliError::usage(format!("there are snapshots of {} sets", newest.len()))
                .hint("name one by its id, or narrow down with --path, --set, --host or --device")
        }
        ResolveError::Snapshot(SnapshotError::Vault(error)) => error.into(),
        ResolveError::Snapshot(error) => CliError::from_error(Exit::Damaged, error)
            .hint("`backup check` tells what else is damaged"),
        error @ ResolveError::None { filtered: false } => {
            CliError::from_error(Exit::Failed, error).hint("`backup run PATH…` makes one")
        }
        ResolveError::Gone { gone } => {
            let (id, until) = (gone.row.id.short(), local_time(gone.until));
            CliError::from_error(Exit::Failed, ResolveError::Gone { gone })
                .hint(format!("`backup undelete {id}` brings it back, until {until}"))
        }
        error @ (ResolveError::NotASnapshot(_) | ResolveError::NotAPath(_)) => {
            CliError::from_error(Exit::Usage, error)
        }
        error => CliError::from_error(Exit::Failed, error).hint("`backup snapshots` lists them"),
    }
}

/// The newest snapshot of each set. Machines that are called alike are told apart by their ids.
fn choice(newest: &[Listed]) -> Table {
    let mut table = Table::new(&[
        ("ID", Align::Left),
        ("Time", Align::Left),
        ("Set", Align::Left),
        ("Device", Align::Left),
    ]);
    for Listed { row, manifest } in newest {
        let set = manifest.as_ref().map_or("(damaged)", |manifest| &manifest.set);
        let alike = newest.iter().any(|other| {
            other.row.device != row.device && other.row.device_name == row.device_name
        });
        let device = match &row.device_name {
            Some(name) if alike => format!("{name} ({})", row.device.short()),
            Some(name) => name.clone(),
            None => row.device.short(),
        };
        table.row([row.id.short(), local_time(row.time), set.to_owned(), device]);
    }
    table
}

/// A moment in the time zone of this machine.
pub fn local_time(time: Timestamp) -> String {
    let seconds = i64::try_from(time.0).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_second(seconds) {
        Ok(moment) => {
            let zoned = moment.to_zoned(jiff::tz::TimeZone::system());
            zoned.strftime("%Y-%m-%d %H:%M:%S").to_string()
        }
        Err(_) => format!("{} s", time.0),
    }
}

/// A moment in the form that machines read.
pub fn machine_time(time: Timestamp) -> String {
    let seconds = i64::try_from(time.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |t| t.to_string())
}
