//! `backup-server serve`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use unseen_common::time::Clock as _;

use super::config::file::File;
use super::config::flags::Flags;
use super::config::{Serving, Settings};
use super::error::CliError;
use super::pinned::Tls;
use super::place::{Place, fingerprint, public_address};
use super::scrubs::Scrubs;
use super::{admin, manage, output, reload};
use crate::clock::SystemClock;
use crate::http::{Listener, ServeError, Server, ServerOptions};
use crate::ops::listener::{self, Watched};
use crate::ops::metrics::Job;
use crate::ops::silence::{Silence, tell};
use crate::vault::folder::is_in_use;
use crate::vault::rounds::Rounds;
use crate::vault::{Core, Options, Swept};
use unseen_manager::Manager;

/// Serve vaults; on the first run this makes the server's keys
///
/// Example: backup-server serve --data /srv/unseen --listen 0.0.0.0:8443
///
/// A flag wins over its environment variable, that over the configuration file.
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    flags: Flags<false>,
}

/// How often the server looks for what is due.
const SWEEP: Duration = Duration::from_secs(600);

pub(super) fn run(command: &Serve, file: &File, everywhere: &Flags<true>) -> Result<(), CliError> {
    let serving = Serving::read(&Settings::new(file, everywhere, &command.flags))?;
    can_listen(&serving)?;
    let core = Core::open(&serving.data, Options::default())?;
    manage::watch(&core, &serving.data, serving.disk);
    let tls = Tls::open(&serving)?;
    output::note(&format!("identity {}", fingerprint(&core.identity())));
    if let Some(spki) = tls.spki() {
        output::note(&format!("tls key  {}", fingerprint(spki.as_bytes())));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    let served = runtime.block_on(serve(&serving, core, tls));
    // What a client no longer waits for may be left undone.
    runtime.shutdown_timeout(Duration::from_secs(5));
    admin::close(&serving.data);
    served
}

/// Nothing is made in a new folder by a server that could not serve: its address may be taken.
fn can_listen(serving: &Serving) -> Result<(), CliError> {
    if is_in_use(&serving.data) {
        return Ok(());
    }
    for place in std::iter::once(&serving.listen).chain(&serving.metrics) {
        let free = Listener::is_free(place);
        free.map_err(|source| ServeError::Listen { place: place.clone(), source })?;
    }
    Ok(())
}

async fn serve(serving: &Serving, core: Core, tls: Tls) -> Result<(), CliError> {
    let config = match &tls {
        Tls::Ours(live) => Some(live.config()?),
        Tls::Proxy(_) => None,
    };
    let scheme = if config.is_some() { "https" } else { "http" };
    let options = ServerOptions {
        finish: serving.deadline,
        log_addresses: serving.log_addresses,
        ..ServerOptions::new(serving.listen.clone(), config)
    };
    let server = Server::bind(core.clone(), options).await?;
    let told = serving.public_address.as_deref();
    let address = public_address(told, server.place())?;
    let (place, placed) = watch::channel(Place { address, spki: tls.spki() });
    place.borrow().keep(&serving.data)?;
    if let Some(address) = place.borrow().for_clients(core.identity()) {
        output::note(&format!("address  {address}"));
    }
    let manager = Arc::new(manager());
    let rounds = Arc::new(Rounds::new(core.clone(), Some(&serving.data)));
    core.metrics().remember(Job::Scrub, rounds.all_finished());
    let watched = Watched::new(Arc::clone(&rounds), &serving.data);
    let running = admin::Running { core: core.clone(), place: placed, rounds: Arc::clone(&rounds) };
    let mut beside = vec![
        tokio::spawn(admin::serve(admin::listen(&serving.data)?, running)),
        reload::start(tls, place, &serving.data, Arc::clone(&manager))?,
        tokio::spawn(pulse(Arc::clone(&manager))),
        tokio::spawn(sweep(core.clone())),
        tokio::spawn(silence(open_accounts(core.clone()), core, serving.on_silent.clone())),
    ];
    if let Some(place) = &serving.metrics {
        beside.push(tokio::spawn(listener::listen(place, watched.clone()).await?));
    }
    let scrubs = Scrubs::start(rounds, serving.scrub)?;
    let stop = told_to_end(Arc::clone(&manager), watched)?;
    output::line(&format!("listening on {}", shown(scheme, &server)));
    manager.ready();
    let served = server.run(stop).await;
    scrubs.end();
    for task in beside {
        task.abort();
    }
    Ok(served?)
}

/// Carries out what is due, now and again.
async fn sweep(core: Core) {
    let mut timer = tokio::time::interval(SWEEP);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        let core = core.clone();
        let swept = tokio::task::spawn_blocking(move || core.sweep(SystemClock.now())).await;
        match swept {
            Ok(Ok(swept)) if swept == Swept::default() => {}
            Ok(Ok(swept)) => tracing::info!(
                erased = swept.erased,
                expired = swept.expired,
                packs = swept.packs,
                bytes = swept.bytes,
                strays = swept.strays,
                failed = swept.failed,
                held = swept.held.is_some(),
                "sweep"
            ),
            Ok(Err(error)) => tracing::error!(%error, "a sweep broke off; the next one goes on"),
            Err(error) => tracing::error!(%error, "a sweep broke off; the next one goes on"),
        }
    }
}

/// Tells the program of whoever runs the server which devices have gone quiet, now and again.
/// The first time as soon as all accounts are open.
async fn silence(opening: JoinHandle<()>, core: Core, program: Option<PathBuf>) {
    let Some(program) = program else {
        return;
    };
    // Those that cannot be opened are looked at when they can.
    drop(opening.await);
    let mut silence = Silence::default();
    let mut timer = tokio::time::interval(SWEEP);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        let (core, now) = (core.clone(), SystemClock.now());
        let Ok(Ok(survey)) = tokio::task::spawn_blocking(move || core.survey()).await else {
            continue;
        };
        let Some(news) = silence.news(&survey, now) else {
            continue;
        };
        match tell(&program, &news).await {
            Ok(()) => silence.was_told(news),
            Err(error) => {
                let error = output::with_causes(&error);
                tracing::warn!(error, "on-silent; it is tried again in ten minutes");
            }
        }
    }
}

fn shown(scheme: &str, server: &Server) -> String {
    match server.place() {
        crate::http::Listen::Tcp(address) => format!("{scheme}://{address}"),
        unix @ crate::http::Listen::Unix(_) => unix.to_string(),
    }
}

/// Opens every account, so that damage is seen at the start and not at the next restore.
fn open_accounts(core: Core) -> JoinHandle<()> {
    tokio::task::spawn_blocking(move || match core.accounts() {
        Ok(accounts) => {
            for id in accounts {
                // What is wrong was logged where it was found.
                drop(core.account(id));
            }
        }
        Err(error) => tracing::error!(kind = ?error.kind(), "accounts cannot be listed"),
    })
}

/// Tells a service manager that wants to know that this process still gets things done.
async fn pulse(manager: Arc<Manager>) {
    let Some(every) = manager.pulse() else {
        return;
    };
    let mut beat = tokio::time::interval(every);
    loop {
        beat.tick().await;
        manager.alive();
    }
}

fn told_to_end(
    manager: Arc<Manager>,
    watched: Watched,
) -> Result<impl Future<Output = ()>, CliError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(CliError::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::Runtime)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        manager.stopping();
        watched.ends();
        tracing::info!("ending; running requests finish first");
    })
}

/// The service manager. One that cannot be reached is logged and done without.
fn manager() -> Manager {
    Manager::from_environment().unwrap_or_else(|error| {
        tracing::warn!(kind = ?error.kind(), "the service manager cannot be told");
        Manager::default()
    })
}
