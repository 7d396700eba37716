//! Whom the command line trusts when it speaks TLS: who signs the certificates that browsers take, or what `--ca` names
//! and nobody else. It sends nothing. Invariant: no certificate is taken unverified.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// Certificates that sign a host's.
#[derive(Debug, Clone)]
pub(super) struct Roots(Arc<RootCertStore>);

impl Roots {
    /// Reads the file that `--ca` names.
    pub(super) fn read(path: &str) -> Result<Self, String> {
        let unfit = |why: String| format!("{path}: {why}");
        let certificates = CertificateDer::pem_file_iter(Path::new(path));
        let certificates = certificates.map_err(|error| unfit(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            let certificate = certificate.map_err(|error| unfit(error.to_string()))?;
            roots.add(certificate).map_err(|error| unfit(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(unfit("it holds no certificate in PEM".into()));
        }
        Ok(Self(Arc::new(roots)))
    }
}

/// Connects by TCP, and by TLS for `https://`.
pub(super) fn connector(roots: Option<&Roots>) -> HttpsConnector<HttpConnector> {
    let known = || RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let roots = roots.map_or_else(|| Arc::new(known()), |Roots(roots)| Arc::clone(roots));
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12]);
    let config = match config {
        Ok(config) => config.with_root_certificates(roots).with_no_client_auth(),
        // Both versions are compiled in, with suites that the provider has.
        Err(error) => panic!("TLS cannot be spoken: {error}"),
    };
    HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().build()
}

/// What TLS has against the other side, when that is why there is no connection.
pub(super) fn refusal(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(refusal) = error.downcast_ref::<rustls::Error>() {
        return Some(refusal.to_string());
    }
    // An I/O error's source is not what it wraps but what that has as its source.
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    let wrapped = wrapped.and_then(|wrapped| refusal(wrapped));
    wrapped.or_else(|| error.source().and_then(refusal))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_tls_says_is_found_however_it_is_wrapped() {
        let inner = rustls::Error::General("no".into());
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, inner));
        assert_eq!(refusal(&wrapped).expect("found"), "unexpected error: no");
        assert_eq!(refusal(&io::Error::other("refused")), None);
    }
}
