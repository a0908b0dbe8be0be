//! Certificates that are renewed while the server runs: looked at on SIGHUP and twice a minute.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use unseen_common::id::Hash;

use super::error::CliError;
use super::output::with_causes;
use super::pinned::Tls;
use super::place::{Place, fingerprint};
use crate::http::tls::Certificate;
use crate::http::tls_live::{LiveCertificate, Reloaded};
use unseen_manager::Manager;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(30);

/// Begins to look, in the background.
pub(super) fn start(
    tls: Tls,
    place: watch::Sender<Place>,
    data: &Path,
    manager: Arc<Manager>,
) -> Result<JoinHandle<()>, CliError> {
    let mut hangup = signal(SignalKind::hangup()).map_err(CliError::Runtime)?;
    let data = data.to_owned();
    Ok(tokio::spawn(async move {
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                told = hangup.recv() => {
                    if told.is_none() {
                        return;
                    }
                    manager.reloading();
                    again(&tls, &place, &data);
                    manager.ready();
                }
                _ = look.tick() => {
                    if matches!(&tls, Tls::Ours(live) if live.has_changed()) {
                        again(&tls, &place, &data);
                    }
                }
            }
        }
    }))
}

fn again(tls: &Tls, place: &watch::Sender<Place>, data: &Path) {
    match tls {
        Tls::Ours(live) => ours(live, place, data),
        Tls::Proxy(Some((path, spki))) => proxys(path, *spki),
        Tls::Proxy(None) => tracing::info!("there is no certificate to read again"),
    }
}

fn ours(live: &LiveCertificate, place: &watch::Sender<Place>, data: &Path) {
    match live.reload() {
        Ok(Reloaded::Same) => tracing::info!("the certificate is the same as before"),
        Ok(Reloaded::Renewed) => {
            tracing::info!("a renewed certificate is served, with the same key");
        }
        Ok(Reloaded::NewKey(spki)) => {
            tracing::warn!(
                key = fingerprint(spki.as_bytes()),
                "a certificate with a NEW KEY is served: clients that pinned the old key stop"
            );
            place.send_modify(|place| place.spki = Some(spki));
            if let Err(error) = place.borrow().write(data) {
                tracing::error!(error = with_causes(&error), "invites may hold the old key");
            }
        }
        Err(error) => {
            let why = with_causes(&error);
            tracing::error!(why, "the new certificate is refused; the old one is served on");
        }
    }
}

/// Nothing here serves it; but the operator should know before the clients do.
fn proxys(path: &Path, spki: Hash) {
    match Certificate::read(path) {
        Ok(read) if read.spki == spki => tracing::info!("the proxy's certificate has the same key"),
        Ok(read) => tracing::error!(
            key = fingerprint(read.spki.as_bytes()),
            "the proxy's certificate has a NEW KEY: clients pinned the old one and will stop"
        ),
        Err(error) => {
            tracing::error!(why = with_causes(&error), "the proxy's certificate cannot be read");
        }
    }
}
