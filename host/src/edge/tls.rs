//! TLS for listeners: a certificate and its key from two files, which are looked at again and again, so that a new
//! certificate needs no restart. Knows no route and no HTTP but its names in ALPN. Invariant: what is served is the last
//! pair of files that was sound; one that is not changes nothing and is said once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use super::expiry;
use super::listener::Closing;
use crate::limits;
use crate::metrics;

/// The files of a certificate, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate, and those that lead from it to one that clients know.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{0} cannot be read: {1}")]
    Read(PathBuf, io::Error),
    /// A file holds something else.
    #[error("{0} holds no {1} in PEM")]
    Pem(PathBuf, &'static str),
    /// They do not fit each other, or nobody can use them.
    #[error("the certificate {0} and its key cannot be used: {1}")]
    Unfit(PathBuf, rustls::Error),
}

/// A listener's TLS. Cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    files: Files,
    current: RwLock<TlsAcceptor>,
    /// The hash of the files that were looked at last, sound or not.
    seen: Mutex<blake3::Hash>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(files: Files) -> Result<Self, TlsError> {
        let (cert, key) = read(&files)?;
        let seen = Mutex::new(hash(&cert, &key));
        let current = RwLock::new(acceptor(&files, &cert, &key)?);
        Ok(Self(Arc::new(Inner { files, current, seen })))
    }

    /// Makes connections of streams, with the certificate of now.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the files again; true when there is a new certificate. Blocks.
    ///
    /// # Errors
    /// [`TlsError`], once for each content; the certificate of before stays.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let Inner { files, current, seen } = &*self.0;
        let (cert, key) = read(files)?;
        let hash = hash(&cert, &key);
        {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == hash {
                return Ok(false);
            }
            *seen = hash;
        }
        let acceptor = acceptor(files, &cert, &key)?;
        *current.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
        Ok(true)
    }

    /// Looks at the files from time to time, until the shutdown.
    pub async fn watch(self, mut closing: Closing) {
        let mut unread = false;
        loop {
            tokio::select! {
                () = closing.begun() => return,
                () = sleep(limits::CERTIFICATE_LOOK) => {}
            }
            let tls = self.clone();
            let Ok(reloaded) = tokio::task::spawn_blocking(move || tls.reload()).await else {
                continue;
            };
            let cert = self.0.files.cert.display();
            match reloaded {
                Ok(true) => tracing::info!(%cert, "a new certificate is used from now on"),
                Ok(false) => {}
                // The files may be missing for as long as it takes to replace them; that is not said twice.
                Err(TlsError::Read(..)) if unread => continue,
                Err(error) => {
                    unread = matches!(error, TlsError::Read(..));
                    tracing::error!(%error, "the certificate of before stays in use");
                    continue;
                }
            }
            unread = false;
        }
    }
}

fn read(files: &Files) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
    let read = |path: &Path| fs::read(path).map_err(|error| TlsError::Read(path.into(), error));
    Ok((read(&files.cert)?, read(&files.key)?))
}

fn hash(cert: &[u8], key: &[u8]) -> blake3::Hash {
    blake3::Hasher::new().update(&cert.len().to_le_bytes()).update(cert).update(key).finalize()
}

fn acceptor(files: &Files, cert: &[u8], key: &[u8]) -> Result<TlsAcceptor, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| TlsError::Pem(files.cert.clone(), "certificate"))?;
    // Of the first that expires: without it clients trust none.
    let until_s = chain.iter().filter_map(|cert| expiry::not_after_s(cert)).min();
    let key = PrivateKeyDer::from_pem_slice(key);
    let key = key.map_err(|_| TlsError::Pem(files.key.clone(), "private key"))?;
    let unfit = |error| TlsError::Unfit(files.cert.clone(), error);
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unfit)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unfit)?;
    if let Some(until_s) = until_s {
        metrics::certificate_expires(until_s);
    }
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pair {
        cert: String,
        key: String,
    }

    fn pair() -> Pair {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        Pair { cert: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    fn write(files: &Files, cert: &str, key: &str) {
        fs::write(&files.cert, cert).expect("written");
        fs::write(&files.key, key).expect("written");
    }

    #[test]
    fn only_sound_files_replace_what_is_served() {
        let dir = tempfile::tempdir().expect("a folder");
        let files = Files { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
        let load = || Tls::load(files.clone()).map(drop).expect_err("unfit").to_string();
        assert!(load().contains("cannot be read"));
        let (one, other) = (pair(), pair());
        write(&files, "", &one.key);
        assert!(load().contains("cert.pem holds no certificate"));
        write(&files, &one.cert, &one.cert);
        assert!(load().contains("key.pem holds no private key"));
        write(&files, &one.cert, &other.key);
        assert!(load().contains("cannot be used"), "{}", load());

        write(&files, &one.cert, &one.key);
        let tls = Tls::load(files.clone()).expect("sound");
        let served = || Arc::as_ptr(tls.acceptor().config());
        let first = served();
        assert!(!tls.reload().expect("unchanged"));
        write(&files, &other.cert, &one.key);
        assert!(tls.reload().is_err(), "half of it is new");
        assert!(!tls.reload().expect("said once"), "and known from then on");
        assert_eq!(served(), first);
        write(&files, &other.cert, &other.key);
        assert!(tls.reload().expect("sound"));
        assert_ne!(served(), first);
        fs::remove_file(&files.key).expect("gone");
        assert!(matches!(tls.reload(), Err(TlsError::Read(..))));
    }
}
