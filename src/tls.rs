//! The client's side of TLS, for whatever nova asks over HTTP: ClickHouse, the Schema Registry, Connect, a key set, another
//! node. rustls with aws-lc, as everywhere in nova.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::bounded::{Bound, Bounded};

/// A connection that is kept tells so soon that the other side has gone.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// Connects to `http://` and `https://` addresses; no answer is longer than it may be.
pub type Connector = Bounded<HttpsConnector<HttpConnector>>;

/// Why no connection could be checked.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("this machine has no certificate authorities ({0}): install them, or name a file in the setting ca_file")]
    NoAuthorities(std::io::Error),
    #[error("ca_file: {path}: {detail}")]
    File { path: PathBuf, detail: String },
    #[error("TLS cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
}

/// A connector for an address. The certificate of an `https://` one must be signed by an authority of `ca_file` (PEM),
/// without that by one of the machine's.
pub fn connector(url: &str, ca_file: Option<&Path>, bound: Bound) -> Result<Connector, TlsError> {
    let provider = aws_lc_rs::default_provider();
    let builder = HttpsConnectorBuilder::new();
    let builder = match ca_file {
        None if url.starts_with("https:") => {
            builder.with_provider_and_native_roots(provider).map_err(TlsError::NoAuthorities)?
        }
        // Without TLS no authority is needed, and the machine may have none.
        _ => {
            let roots = ca_file.map(authorities).transpose()?.unwrap_or_else(RootCertStore::empty);
            let config = ClientConfig::builder_with_provider(provider.into()).with_safe_default_protocol_versions()?;
            builder.with_tls_config(config.with_root_certificates(roots).with_no_client_auth())
        }
    };
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_keepalive(Some(TCP_KEEPALIVE));
    Ok(Bounded::new(builder.https_or_http().enable_http1().wrap_connector(http), bound))
}

/// The authorities of a PEM file.
pub fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let wrong = |detail: String| TlsError::File { path: path.to_owned(), detail };
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))? {
        roots.add(cert.map_err(|error| wrong(error.to_string()))?).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("has no certificate".to_owned())) } else { Ok(roots) }
}

/// An error with all its causes: a client's own words are no more than `client error (Connect)`.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Bound = Bound::Each(1);

    #[test]
    fn a_file_without_a_certificate_is_refused_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        for content in [None, Some(""), Some("-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n")] {
            if let Some(content) = content {
                std::fs::write(&path, content).unwrap();
            }
            let error = connector("https://localhost", Some(&path), BOUND).map(drop).unwrap_err().to_string();
            assert!(error.starts_with("ca_file: ") && error.contains("ca.pem"), "{error}");
        }
        assert!(connector("http://localhost", None, BOUND).is_ok());
    }
}
