//! A certificate that can be renewed while the server runs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use unseen_common::id::Hash;

use super::tls::{self, Certificate, TlsError};
use crate::store::lock;

/// Why new files were not taken. What was served before is served on.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// They are no certificate and key.
    #[error(transparent)]
    Unusable(#[from] TlsError),
    /// Every client that pinned the old key would be cut off.
    #[error(
        "{path} has a new key: clients pinned the old one and would refuse the server. Renew with \
         the same key (certbot: --reuse-key), or set tls-allow-new-key if no client is to go on"
    )]
    NewKey {
        /// The certificate's file.
        path: PathBuf,
    },
}

/// What new files brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// What is served already.
    Same,
    /// Another certificate for the same key.
    Renewed,
    /// Another key, whose hash this is.
    NewKey(Hash),
}

/// Certificate and key in two files, looked at again when told to.
#[derive(Debug)]
pub struct LiveCertificate {
    certificate: PathBuf,
    key: PathBuf,
    allow_new_key: bool,
    serving: Arc<Current>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    spki: Hash,
    stamps: [Stamp; 2],
}

/// Tells a version of a file from the next: time of change, length, inode.
type Stamp = Option<(i64, i64, u64, u64)>;

/// What rustls asks for each connection.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl LiveCertificate {
    /// Reads both files, which must belong together.
    pub fn open(certificate: &Path, key: &Path, allow_new_key: bool) -> Result<Self, TlsError> {
        let stamps = [stamp(certificate), stamp(key)];
        let read = Certificate::read(certificate)?;
        let pair = Arc::new(read.with_key(key)?);
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            allow_new_key,
            serving: Arc::new(Current(RwLock::new(pair))),
            known: Mutex::new(Known { spki: read.spki, stamps }),
        })
    }

    /// The hash of the key that is served now.
    pub fn spki(&self) -> Hash {
        lock(&self.known).spki
    }

    /// How to serve with whatever is current.
    pub fn config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let resolver = Arc::clone(&self.serving);
        tls::serving(resolver)
            .map_err(|source| TlsError::Unusable { path: self.certificate.clone(), source })
    }

    /// Whether a file is another than at the last look.
    pub fn has_changed(&self) -> bool {
        lock(&self.known).stamps != self.stamps()
    }

    /// Reads the files again. New connections get what they hold, if it can be served; a refusal
    /// is not repeated by [`has_changed`](Self::has_changed) until a file changes again.
    pub fn reload(&self) -> Result<Reloaded, ReloadError> {
        let stamps = self.stamps();
        lock(&self.known).stamps = stamps;
        let read = Certificate::read(&self.certificate)?;
        let pair = read.with_key(&self.key)?;
        let before = self.spki();
        if read.spki != before && !self.allow_new_key {
            return Err(ReloadError::NewKey { path: self.certificate.clone() });
        }
        let mut serving = self.serving.0.write().unwrap_or_else(PoisonError::into_inner);
        let same = serving.cert == pair.cert;
        *serving = Arc::new(pair);
        drop(serving);
        lock(&self.known).spki = read.spki;
        Ok(match (same, read.spki == before) {
            (true, _) => Reloaded::Same,
            (false, true) => Reloaded::Renewed,
            (false, false) => Reloaded::NewKey(read.spki),
        })
    }

    fn stamps(&self) -> [Stamp; 2] {
        [stamp(&self.certificate), stamp(&self.key)]
    }
}

fn stamp(path: &Path) -> Stamp {
    let found = fs::metadata(path).ok()?;
    Some((found.mtime(), found.mtime_nsec(), found.len(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Files {
        _dir: tempfile::TempDir,
        certificate: PathBuf,
        key: PathBuf,
    }

    fn key() -> rcgen::KeyPair {
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
    }

    fn certificate(key: &rcgen::KeyPair, name: &str) -> String {
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.self_signed(key).unwrap().pem()
    }

    fn files(key: &rcgen::KeyPair) -> Files {
        let dir = tempfile::tempdir().unwrap();
        let (certificate_path, key_path) = (dir.path().join("c"), dir.path().join("k"));
        fs::write(&certificate_path, certificate(key, "one")).unwrap();
        fs::write(&key_path, key.serialize_pem()).unwrap();
        Files { _dir: dir, certificate: certificate_path, key: key_path }
    }

    fn served(live: &LiveCertificate) -> Vec<u8> {
        live.serving.0.read().unwrap().cert.first().unwrap().to_vec()
    }

    #[test]
    fn a_renewal_is_taken() {
        let key = key();
        let files = files(&key);
        let live = LiveCertificate::open(&files.certificate, &files.key, false).unwrap();
        let (spki, first) = (live.spki(), served(&live));
        assert!(!live.has_changed());
        assert_eq!(live.reload().unwrap(), Reloaded::Same);
        fs::write(&files.certificate, certificate(&key, "another name")).unwrap();
        assert!(live.has_changed());
        assert_eq!(live.reload().unwrap(), Reloaded::Renewed);
        assert!(!live.has_changed());
        assert_eq!(live.spki(), spki);
        assert_ne!(served(&live), first);
    }

    #[test]
    fn what_cannot_be_served_is_not_taken() {
        let files = files(&key());
        let live = LiveCertificate::open(&files.certificate, &files.key, true).unwrap();
        let first = served(&live);
        let other = key();
        for broken in ["", "no PEM", &certificate(&other, "the key is another's")] {
            fs::write(&files.certificate, broken).unwrap();
            assert!(matches!(live.reload(), Err(ReloadError::Unusable(_))), "{broken}");
            assert!(!live.has_changed(), "told once");
            assert_eq!(served(&live), first);
        }
        // The other half of the pair arrives.
        fs::write(&files.key, other.serialize_pem()).unwrap();
        assert!(live.has_changed());
        assert_eq!(live.reload().unwrap(), Reloaded::NewKey(live.spki()));
    }

    #[test]
    fn a_new_key_is_refused() {
        let files = files(&key());
        let live = LiveCertificate::open(&files.certificate, &files.key, false).unwrap();
        let (spki, first) = (live.spki(), served(&live));
        let other = key();
        fs::write(&files.certificate, certificate(&other, "two")).unwrap();
        fs::write(&files.key, other.serialize_pem()).unwrap();
        let refused = live.reload().unwrap_err();
        assert!(matches!(refused, ReloadError::NewKey { .. }));
        assert!(refused.to_string().contains("--reuse-key"));
        assert_eq!((live.spki(), served(&live)), (spki, first));
    }
}
