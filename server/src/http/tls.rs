//! The server's certificate. Clients pin its public key, so one that nobody signed will do.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ParsedCertificate, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use unseen_common::id::Hash;

use crate::store::durable;

/// Why there is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be written.
    #[error("{path} cannot be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is no PEM file with what is needed.
    #[error("no certificate or key can be read from {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// The certificate and key cannot be used together.
    #[error("the certificate in {path} cannot be used, or the key is not its key")]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// No certificate could be made.
    #[error("a certificate could not be made")]
    Make(#[source] rcgen::Error),
}

/// A certificate and where its key is.
#[derive(Debug, Clone)]
pub struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    path: PathBuf,
    /// BLAKE3 of the DER of its `SubjectPublicKeyInfo`: what clients pin.
    pub spki: Hash,
}

impl Certificate {
    /// Reads a chain.
    pub fn read(path: &Path) -> Result<Self, TlsError> {
        let read = |source| TlsError::Read { path: path.to_owned(), source };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(path)
            .map_err(read)?
            .collect::<Result<_, _>>()
            .map_err(read)?;
        let first =
            chain.first().ok_or(rustls_pki_types::pem::Error::NoItemsFound).map_err(read)?;
        let spki = spki_of(first)
            .map_err(|source| TlsError::Unusable { path: path.to_owned(), source })?;
        Ok(Self { chain, path: path.to_owned(), spki })
    }

    /// How to serve with it: TLS 1.3 only.
    pub fn config(&self, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
        let pair = self.with_key(key)?;
        serving(Arc::new(SingleCertAndKey::from(pair)))
            .map_err(|source| TlsError::Unusable { path: self.path.clone(), source })
    }

    /// Certificate and key, which belong together.
    pub fn with_key(&self, key: &Path) -> Result<CertifiedKey, TlsError> {
        let secret = PrivateKeyDer::from_pem_file(key)
            .map_err(|source| TlsError::Read { path: key.to_owned(), source })?;
        CertifiedKey::from_der(self.chain.clone(), secret, &ring::default_provider())
            .map_err(|source| TlsError::Unusable { path: self.path.clone(), source })
    }
}

/// How to serve with what a resolver chooses: TLS 1.3 only.
pub(super) fn serving(
    resolver: Arc<dyn ResolvesServerCert>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The self-signed certificate of a data folder, made if absent, and the path of its key.
pub fn own(data: &Path) -> Result<(Certificate, PathBuf), TlsError> {
    let (chain, key) = own_files(data);
    if !has_own(data) {
        make(&data.join("tls"), &chain, &key)?;
    }
    Ok((Certificate::read(&chain)?, key))
}

/// Whether a data folder has a certificate of its own.
pub fn has_own(data: &Path) -> bool {
    let (chain, key) = own_files(data);
    chain.exists() && key.exists()
}

/// Where the certificate of a data folder and its key are.
pub fn own_files(data: &Path) -> (PathBuf, PathBuf) {
    let folder = data.join("tls");
    (folder.join("cert.pem"), folder.join("key.pem"))
}

/// BLAKE3 of the DER of a certificate's `SubjectPublicKeyInfo`.
fn spki_of(certificate: &CertificateDer<'_>) -> Result<Hash, rustls::Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    Ok(Hash::of(&parsed.subject_public_key_info()))
}

fn make(folder: &Path, chain: &Path, key: &Path) -> Result<(), TlsError> {
    let secret = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256);
    let secret = secret.map_err(TlsError::Make)?;
    // The name is not checked by clients that pin; one that says what this is helps people.
    let mut params = rcgen::CertificateParams::new(vec!["backup-server.invalid".to_owned()])
        .map_err(TlsError::Make)?;
    params.not_before = rcgen::date_time_ymd(2024, 1, 1);
    params.not_after = rcgen::date_time_ymd(2124, 1, 1);
    let certificate = params.self_signed(&secret).map_err(TlsError::Make)?;
    let write = |path: &Path, text: String| {
        durable::make_dirs(folder)
            .and_then(|()| durable::write(path, &[text.as_bytes()]))
            .map_err(|source| TlsError::Write { path: path.to_owned(), source })
    };
    write(key, secret.serialize_pem())?;
    write(chain, certificate.pem())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_certificate_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let (first, key) = own(dir.path()).unwrap();
        let (again, _) = own(dir.path()).unwrap();
        assert_eq!(first.spki, again.spki);
        first.config(&key).unwrap();
        let permissions = std::fs::metadata(&key).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777, 0o600);
    }

    #[test]
    fn keys_of_others_are_refused() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (certificate, _) = own(one.path()).unwrap();
        let (_, key) = own(two.path()).unwrap();
        assert!(matches!(certificate.config(&key), Err(TlsError::Unusable { .. })));
    }
}
