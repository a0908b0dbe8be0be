//! The certificate to serve with, and whether its key is the one that clients pinned.

use std::path::{Path, PathBuf};

use unseen_common::id::Hash;

use super::config::Serving;
use super::error::CliError;
use super::place::{Place, fingerprint};
use crate::http::tls::{self, Certificate};
use crate::http::tls_live::LiveCertificate;

/// What clients see.
#[derive(Debug)]
pub(super) enum Tls {
    /// Certificate and key of this server.
    Ours(LiveCertificate),
    /// A proxy's; its certificate, if it is known.
    Proxy(Option<(PathBuf, Hash)>),
}

impl Tls {
    /// Finds the certificate; the first time it is made.
    pub(super) fn open(serving: &Serving) -> Result<Self, CliError> {
        Self::look(serving)?;
        if serving.behind_proxy {
            let shown = serving.tls_cert.as_deref().map(Certificate::read).transpose()?;
            let path = serving.tls_cert.clone();
            return Ok(Self::Proxy(path.zip(shown.map(|certificate| certificate.spki))));
        }
        if serving.tls_cert.is_none() {
            tls::own(&serving.data)?;
        }
        let (certificate, key) = files(serving);
        let live = LiveCertificate::open(&certificate, &key, serving.allow_new_key)?;
        Ok(Self::Ours(live))
    }

    /// Whether it could be opened. Makes nothing.
    pub(super) fn look(serving: &Serving) -> Result<(), CliError> {
        let kept = Place::read(&serving.data)?.and_then(|place| place.spki);
        let kept = kept.filter(|_| !serving.allow_new_key);
        if serving.tls_cert.is_none() && (serving.behind_proxy || !tls::has_own(&serving.data)) {
            return match kept {
                Some(_) if !serving.behind_proxy => {
                    Err(CliError::KeyLost { folder: serving.data.join("tls") })
                }
                _ => Ok(()),
            };
        }
        let (certificate, key) = files(serving);
        let read = Certificate::read(&certificate)?;
        if !serving.behind_proxy {
            read.with_key(&key)?;
        }
        same_key(&certificate, kept, read.spki)
    }

    /// The hash that clients pin, if it is known.
    pub(super) fn spki(&self) -> Option<Hash> {
        match self {
            Self::Ours(live) => Some(live.spki()),
            Self::Proxy(shown) => shown.as_ref().map(|(_, spki)| *spki),
        }
    }
}

fn files(serving: &Serving) -> (PathBuf, PathBuf) {
    match (&serving.tls_cert, &serving.tls_key) {
        (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        (Some(both), None) => (both.clone(), both.clone()),
        (None, _) => tls::own_files(&serving.data),
    }
}

/// Refuses a key that clients do not know.
fn same_key(path: &Path, kept: Option<Hash>, found: Hash) -> Result<(), CliError> {
    match kept {
        Some(kept) if kept != found => Err(CliError::NewKey {
            path: path.to_owned(),
            pinned: fingerprint(kept.as_bytes()),
            found: fingerprint(found.as_bytes()),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::config::test_serving;

    #[test]
    fn a_key_that_clients_do_not_know_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut serving = test_serving(dir.path());
        Tls::look(&serving).unwrap();
        assert!(!dir.path().join("tls").exists(), "looking makes nothing");
        let first = Tls::open(&serving).unwrap().spki();
        Place { address: "a:1".into(), spki: first }.write(dir.path()).unwrap();
        assert_eq!(Tls::open(&serving).unwrap().spki(), first);

        std::fs::remove_dir_all(dir.path().join("tls")).unwrap();
        assert!(matches!(Tls::open(&serving), Err(CliError::KeyLost { .. })));
        assert!(!dir.path().join("tls").exists());
        let other = tempfile::tempdir().unwrap();
        let (certificate, key) = (tls::own(other.path()).unwrap(), tls::own_files(other.path()).1);
        let (path, _) = tls::own_files(other.path());
        serving.tls_cert = Some(path.clone());
        serving.tls_key = Some(key);
        let refused = Tls::open(&serving).unwrap_err();
        assert!(matches!(refused, CliError::NewKey { .. }), "{refused:?}");
        serving.allow_new_key = true;
        assert_eq!(Tls::open(&serving).unwrap().spki(), Some(certificate.0.spki));
        // A proxy's certificate is held to the same.
        serving.tls_key = None;
        serving.behind_proxy = true;
        assert_eq!(Tls::open(&serving).unwrap().spki(), Some(certificate.0.spki));
        serving.allow_new_key = false;
        assert!(matches!(Tls::open(&serving), Err(CliError::NewKey { .. })));
        // Without it nothing is known, and no invite can be made.
        serving.tls_cert = None;
        assert_eq!(Tls::open(&serving).unwrap().spki(), None);
    }
}
