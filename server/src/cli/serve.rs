//! `backup-server serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rustls::ServerConfig;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;
use unseen_common::time::Clock as _;

use super::error::CliError;
use super::place::{Place, fingerprint, public_address};
use super::{admin, manage, output, units};
use crate::clock::SystemClock;
use crate::http::tls::{self, Certificate};
use crate::http::{Server, ServerOptions};
use crate::store::space::DiskLimits;
use crate::vault::{Core, Options, Swept};

/// Serve vaults; on the first run this makes the server's keys
///
/// Example: backup-server serve --data /srv/unseen --listen 0.0.0.0:8443
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Where everything is kept; made if absent
    #[arg(long, value_name = "DIR", env = "UNSEEN_DATA")]
    data: PathBuf,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", env = "UNSEEN_LISTEN", default_value = "0.0.0.0:8443")]
    listen: SocketAddr,
    /// Where clients reach the server, for invites
    #[arg(long, value_name = "HOST:PORT", env = "UNSEEN_PUBLIC_ADDRESS")]
    public_address: Option<String>,
    /// A certificate chain of your own, PEM; behind a proxy: the proxy's
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert", conflicts_with = "behind_proxy")]
    tls_key: Option<PathBuf>,
    /// How much of the disk packs leave free [default: 256 MiB, or 1 % of a small disk]
    #[arg(long, value_name = "SIZE", env = "UNSEEN_KEEP_FREE", value_parser = units::bytes)]
    keep_free: Option<u64>,
    /// What is set aside to pay for records when the disk is full
    #[arg(
        long,
        value_name = "SIZE",
        env = "UNSEEN_RESERVE",
        value_parser = units::bytes,
        default_value = "64MiB"
    )]
    reserve: u64,
    /// Plain HTTP on a loopback address, for a proxy on this machine that does TLS
    #[arg(long)]
    behind_proxy: bool,
}

/// How often the server looks for what is due.
const SWEEP: Duration = Duration::from_secs(600);

pub(super) fn run(command: &Serve) -> Result<(), CliError> {
    let core = Core::open(&command.data, Options::default())?;
    let limits = DiskLimits { keep_free: command.keep_free, reserve: command.reserve };
    manage::watch(&core, &command.data, limits);
    let (spki, tls) = certificate(command)?;
    output::note(&format!("identity {}", fingerprint(&core.identity())));
    if let Some(spki) = spki {
        output::note(&format!("tls key  {}", fingerprint(spki.as_bytes())));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    let served = runtime.block_on(serve(command, core, tls, spki));
    // What a client no longer waits for may be left undone.
    runtime.shutdown_timeout(Duration::from_secs(5));
    admin::close(&command.data);
    served
}

type Tls = (Option<unseen_common::id::Hash>, Option<Arc<ServerConfig>>);

fn certificate(command: &Serve) -> Result<Tls, CliError> {
    if command.behind_proxy {
        let shown = command.tls_cert.as_deref().map(Certificate::read).transpose()?;
        return Ok((shown.map(|certificate| certificate.spki), None));
    }
    let (certificate, key) = match (&command.tls_cert, &command.tls_key) {
        (Some(path), Some(key)) => (Certificate::read(path)?, key.clone()),
        (Some(path), None) => (Certificate::read(path)?, path.clone()),
        (None, _) => tls::own(&command.data)?,
    };
    let config = certificate.config(&key)?;
    Ok((Some(certificate.spki), Some(config)))
}

async fn serve(
    command: &Serve,
    core: Core,
    tls: Option<Arc<ServerConfig>>,
    spki: Option<unseen_common::id::Hash>,
) -> Result<(), CliError> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let options = ServerOptions::new(command.listen, tls);
    let server = Server::bind(core.clone(), options).await?;
    let place = Place {
        address: public_address(command.public_address.as_deref(), server.address())?,
        spki,
    };
    if Place::read(&command.data).ok().flatten().as_ref() != Some(&place) {
        // On a full disk a server that knows its place can still start.
        place.write(&command.data)?;
    }
    let admin = tokio::spawn(admin::serve(admin::listen(&command.data)?, core.clone(), place));
    let stop = told_to_end()?;
    let opened = tokio::task::spawn_blocking({
        let core = core.clone();
        move || open_accounts(&core)
    });
    let sweeper = tokio::spawn(sweep(core));
    output::line(&format!("listening on {scheme}://{}", server.address()));
    let served = server.run(stop).await;
    admin.abort();
    opened.abort();
    sweeper.abort();
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

/// Opens every account, so that damage is seen at the start and not at the next restore.
fn open_accounts(core: &Core) {
    match core.accounts() {
        Ok(accounts) => {
            for id in accounts {
                // What is wrong was logged where it was found.
                drop(core.account(id));
            }
        }
        Err(error) => tracing::error!(kind = ?error.kind(), "accounts cannot be listed"),
    }
}

fn told_to_end() -> Result<impl Future<Output = ()>, CliError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(CliError::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::Runtime)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("ending; running requests finish first");
    })
}
