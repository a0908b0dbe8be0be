//! From an address to a service, and what every command needs to talk to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use unseen_common::id::VaultId;
use unseen_common::log::state::{Change, State};
use unseen_common::time::{Clock, SECONDS_A_DAY, Timestamp};
use unseen_common::vault::{Service, Vault};
use unseen_server::vault::folder::is_in_use;

use super::args::values::BytesPerSecond;
use super::cmd_init::after_a_cut;
use super::context::{Context, Setup};
use super::exit::{CliError, Exit};
use super::failure::is_full;
use super::output::Ui;
use super::places::Places;
use super::reading::local_time;
use super::turns::in_turn;
use super::units::{bytes, plural};
use crate::backup::Source;
use crate::crypto::device_file::DeviceKey;
use crate::enrol::connect as enrol;
use crate::enrol::earlier::load_device_key;
use crate::enrol::init::Place;
use crate::remote::address::{Address, ParseError, ServerAddress, Target};
use crate::remote::http::HttpService;
use crate::remote::limit::{Bucket, Limited};
use crate::remote::local::{LocalError, LocalVault, ScrubReport, Sweeper};
use crate::remote::retry::RetryingService;
use crate::repo::{Folders, Repository};

/// The clock of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the time comes from")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Timestamp(since.map_or(0, |d| d.as_secs()))
    }
}

/// A vault that can be talked to.
#[derive(Debug)]
pub struct Opened {
    /// The service.
    pub service: Arc<dyn Service>,
    /// The accounts in a local folder; empty for a server.
    pub accounts: Vec<VaultId>,
    /// The folder of a local vault.
    pub folder: Option<PathBuf>,
    /// What a local vault has in place of a server.
    pub sweeper: Option<Sweeper>,
}

/// Runs requests and timers.
pub fn runtime() -> Result<Runtime, CliError> {
    started(&mut tokio::runtime::Builder::new_multi_thread())
}

/// As [`runtime`], for a command that reads many packs. A vault on this machine is read by few
/// threads: what each thread of a process has ever taken at a time, it keeps.
pub fn reading_runtime() -> Result<Runtime, CliError> {
    started(tokio::runtime::Builder::new_multi_thread().max_blocking_threads(2))
}

fn started(builder: &mut tokio::runtime::Builder) -> Result<Runtime, CliError> {
    let built = builder.worker_threads(2).enable_all().build();
    built.map_err(|error| CliError::new(Exit::Failed, "cannot start").because(error))
}

/// Reads an address.
pub fn parse(text: &str) -> Result<Address, CliError> {
    text.parse().map_err(|error: ParseError| {
        CliError::usage(format!("not an address of a vault: {text}"))
            .because(error)
            .hint("file:///PATH, or unseen://HOST:PORT/ACCOUNT?pin=…")
    })
}

/// The folder of a local vault.
pub fn folder_of(address: &Address) -> Option<PathBuf> {
    match address {
        Address::Folder(folder) => Some(folder.clone()),
        Address::Server(_) => None,
    }
}

/// The address of a folder.
pub fn address_of(folder: &Path) -> Result<Address, CliError> {
    if folder.to_str().is_none() {
        return Err(CliError::usage("a local vault needs a folder whose name is UTF-8"));
    }
    Ok(Address::Folder(folder.to_path_buf()))
}

/// Opens a local vault, which is made if absent.
pub fn open_folder(folder: &Path) -> Result<Opened, CliError> {
    let LocalVault { service, accounts, sweeper } = crate::remote::local::open(folder)?;
    Ok(Opened { service, accounts, folder: Some(folder.to_path_buf()), sweeper: Some(sweeper) })
}

/// The engine's view of a profile's places.
pub fn folders(places: &Places) -> Folders {
    Folders {
        data: places.data.clone(),
        state: places.state.clone(),
        cache: places.cache.clone(),
        credential: places.credential.clone(),
    }
}

/// The device key of the profile, or exit 10.
pub fn device_key(setup: &Setup) -> Result<DeviceKey, CliError> {
    Ok(load_device_key(&folders(&setup.places))?)
}

/// Logs in as this device. What fails for a moment is tried again, until `stop` is raised.
pub fn open_repository(
    context: &Context<'_>,
    setup: &Setup,
    (runtime, stop): (&Runtime, Arc<AtomicBool>),
) -> Result<(Repository, Opened), CliError> {
    let (repo, opened) = in_turn(context, setup, || log_in(setup, (runtime, Arc::clone(&stop))))?;
    if let Some(warning) = erase_warning(&repo.log.state) {
        context.ui.warn(&warning);
    }
    Ok((repo, opened))
}

/// The same for those who have nobody to speak to.
pub fn log_in(
    setup: &Setup,
    (runtime, stop): (&Runtime, Arc<AtomicBool>),
) -> Result<(Repository, Opened), CliError> {
    let key = device_key(setup)?;
    // What the profile says wins over what was true when this machine was enrolled.
    let address = setup.vault.clone().unwrap_or_else(|| key.server.clone());
    let address = parse(&address)?;
    let logged_in = || {
        let opened = open(&address, stop)?;
        let service = Arc::clone(&opened.service);
        let repo = Repository::open(service, key, folders(&setup.places), Arc::new(SystemClock));
        let repo = runtime.block_on(repo)?;
        Ok((repo, opened))
    };
    logged_in().map_err(|error| after_a_cut(error, &setup.places))
}

/// What is said as long as the vault is to be erased.
pub fn erase_warning(state: &State) -> Option<String> {
    let due = erase_due(state)?;
    Some(format!(
        "everything in this vault will be erased on {}: `backup privacy erase --cancel` stops that",
        local_time(due)
    ))
}

/// When the vault is erased, if its owner wants that.
pub fn erase_due(state: &State) -> Option<Timestamp> {
    let erase = state.pending.iter().find(|pending| pending.change == Change::Erase);
    erase.map(|pending| pending.effective)
}

/// A server, which is asked again when it does not answer, until `stop` is raised.
fn service_of(server: &ServerAddress, stop: Arc<AtomicBool>) -> Result<Arc<dyn Service>, CliError> {
    Ok(Arc::new(RetryingService::new(Arc::new(HttpService::new(server)?), stop)))
}

/// Where an invitation leads.
pub fn invited(link: &str) -> Result<Place, CliError> {
    let Address::Server(server) = parse(link)? else {
        return Err(CliError::usage("an invitation begins with unseen://")
            .hint("for a vault in a folder: `backup init --local DIR`"));
    };
    let Target::Invite(invite) = &server.target else {
        return Err(CliError::usage("this address names a vault that exists")
            .hint("`backup connect` joins it with the recovery code"));
    };
    Ok(Place {
        service: service_of(&server, Arc::default())?,
        identity: Some(server.pin.identity),
        tls_pin: Some(*server.pin.spki.as_bytes()),
        invite: invite.clone(),
        address: Address::Server(server),
    })
}

/// The vault that an address names, for a machine that is not enrolled.
pub fn target(
    ctx: &Context<'_>,
    address: &Address,
    runtime: &Runtime,
) -> Result<enrol::Target, CliError> {
    let folder = match address {
        Address::Server(server) => {
            let Target::Account(account) = server.target else {
                return Err(CliError::usage("this is an invitation to a new vault")
                    .hint("`backup init LINK` accepts it; the kit has the address of a vault"));
            };
            return Ok(enrol::Target {
                service: service_of(server, Arc::default())?,
                account,
                identity: server.pin.identity,
                tls_pin: Some(*server.pin.spki.as_bytes()),
                address: address.to_string(),
            });
        }
        Address::Folder(folder) => folder,
    };
    let setup = ctx.setup()?;
    let opened = in_turn(ctx, &setup, || open_existing(folder))?;
    let [account] = opened.accounts[..] else {
        let message = match opened.accounts.len() {
            0 => format!("there is no vault in {}", folder.display()),
            count => format!("there are {count} vaults in {}", folder.display()),
        };
        return Err(CliError::new(Exit::NoVault, message));
    };
    let info = runtime.block_on(opened.service.describe())?;
    Ok(enrol::Target {
        service: opened.service,
        account,
        address: address.to_string(),
        identity: *info.identity.as_bytes(),
        tls_pin: None,
    })
}

/// The service at an address.
pub fn open(address: &Address, stop: Arc<AtomicBool>) -> Result<Opened, CliError> {
    match address {
        Address::Folder(folder) => open_existing(folder),
        Address::Server(server) => Ok(Opened {
            service: service_of(server, stop)?,
            accounts: Vec::new(),
            folder: None,
            sweeper: None,
        }),
    }
}

/// Who hears of details, and who of warnings: whoever waits for a run need not be where it is made.
pub type Told<'a> = (&'a Ui, &'a dyn Fn(&str));

/// What is said of a local vault on the disk that it is to protect: it protects from mistakes, not
/// from a dead disk.
pub fn same_disk_warning(source: &Source, opened: &Opened) -> Option<&'static str> {
    use std::os::unix::fs::MetadataExt;
    let (Source::Paths(paths), Some(folder)) = (source, &opened.folder) else {
        return None;
    };
    let device = |path: &PathBuf| std::fs::metadata(path).map(|m| m.dev()).ok();
    let vault = device(folder)?;
    paths.iter().any(|path| device(path) == Some(vault)).then_some(
        "the vault is on the same disk as what it backs up: it will not survive that disk",
    )
}

/// At the end of a command: a local vault lets go what its rules keep no longer, once a day. A
/// server does that by itself.
pub fn sweep((ui, warn): Told<'_>, setup: &Setup, opened: &Opened) {
    let Some(sweeper) = &opened.sweeper else {
        return;
    };
    let (now, note) = (SystemClock.now(), setup.places.state.join("swept"));
    let last = std::fs::read_to_string(&note).ok().and_then(|text| text.trim().parse().ok());
    // A clock that was ahead must not put it off for long.
    if last.is_some_and(|last: u64| now.0.abs_diff(last) < SECONDS_A_DAY) {
        return;
    }
    match sweeper.sweep(now) {
        Ok(swept) if swept.held.is_some() => warn(
            "the clock has gone far ahead since this vault was last used, so nothing expires and \
             nothing is deleted; if it is right, say so: `backup-server gc --confirm-clock`",
        ),
        Ok(swept) => {
            if swept.expired > 0 || swept.packs > 0 {
                ui.detail(1, || {
                    format!(
                        "{} expired by the policy; {} freed",
                        plural(swept.expired, "snapshot", "snapshots"),
                        bytes(swept.bytes)
                    )
                });
            }
            // If it cannot be noted it is done again next time.
            std::fs::write(&note, now.0.to_string()).ok();
        }
        Err(error) => warn(&format!("the vault was not tidied up: {error}")),
    }
}

/// What was read again so long ago is read again.
const SCRUB_EVERY: u64 = 30 * SECONDS_A_DAY;
/// At most so much of it after a run: a scrub goes on after the next one.
const SCRUB_BYTES: u64 = 256 * 1024 * 1024;
const SCRUB_TIME: Duration = Duration::from_secs(2);

/// After a run: some of a local vault is read again, as a server does by itself. What is damaged
/// the next run sends again, as far as it has it.
pub fn scrub((ui, warn): Told<'_>, opened: &Opened, stop: &AtomicBool) {
    let Some(sweeper) = &opened.sweeper else {
        return;
    };
    let (began, mut left) = (Instant::now(), SCRUB_BYTES);
    let mut go_on = |bytes: u64| {
        left = left.saturating_sub(bytes);
        left > 0 && began.elapsed() < SCRUB_TIME && !stop.load(Ordering::Relaxed)
    };
    match sweeper.scrub(SCRUB_EVERY, &mut go_on) {
        Ok(reports) => {
            for report in reports {
                tell_scrub((ui, warn), &report);
            }
        }
        Err(error) => warn(&format!("the vault was not read again: {error}")),
    }
}

fn tell_scrub((ui, warn): Told<'_>, report: &ScrubReport) {
    ui.detail(1, || {
        let packs = plural(report.packs, "pack", "packs");
        format!("read {packs} of the vault again, {}", bytes(report.bytes))
    });
    if !report.found.0.is_empty() {
        let packs = plural(report.found.0.len(), "pack", "packs");
        warn(&format!(
            "{packs} of the vault turned out to be damaged: the next run sends again what is still \
             here; `backup check` names the files that suffer"
        ));
    }
    if !report.broken.is_empty() {
        let files = report.broken.len() as u64;
        let files = plural(
            files,
            "file of the vault that is no pack is",
            "files of the vault that are no packs are",
        );
        warn(&format!("{files} damaged: `backup check` tells which snapshots suffer"));
    }
}

fn open_existing(folder: &Path) -> Result<Opened, CliError> {
    if !is_in_use(folder) {
        let message = format!("there is no vault in {}", folder.display());
        return Err(CliError::new(Exit::NoVault, message)
            .hint("is its disk mounted? Or name another place with --vault"));
    }
    open_folder(folder)
}

/// Keeps big transfers to a rate, in bytes a second.
pub fn limited(
    vault: Arc<dyn Vault>,
    up: Option<BytesPerSecond>,
    down: Option<BytesPerSecond>,
) -> Arc<dyn Vault> {
    if up.is_none() && down.is_none() {
        return vault;
    }
    let bucket = |rate: BytesPerSecond| Arc::new(Bucket::new(rate.0.div_ceil(1024)));
    Arc::new(Limited::new(vault, up.map(bucket), down.map(bucket)))
}

impl From<LocalError> for CliError {
    fn from(error: LocalError) -> Self {
        match error {
            LocalError::NoJournal(ref folder) | LocalError::Journal { ref folder, .. } => {
                let hint = format!(
                    "`backup-server rebuild --data {}` makes the journal anew from what is there; \
                     it deletes nothing",
                    folder.display()
                );
                Self::from_error(Exit::Damaged, error).hint(hint)
            }
            error @ LocalError::Busy(_) => Self::from_error(Exit::Busy, error)
                .hint("wait until the other run, or the server on this folder, is done"),
            error if error.is_full() || is_full(&error) => Self::from_error(Exit::Full, error)
                .hint("free space on its disk, then run this again"),
            error => Self::from_error(Exit::Failed, error)
                .hint("is its disk mounted, and may you read and write in that folder?"),
        }
    }
}
