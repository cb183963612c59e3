//! TLS for every server that nova asks over HTTP: ClickHouse, the Schema Registry, Kafka Connect, a key set, or a nova
//! node. The client uses rustls with aws-lc, as all of nova does.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use nova_storage::seal::hex;
use sha2::{Digest as _, Sha256};
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::bounded::{Bound, Bounded};

/// The interval of TCP keepalives, by which nova notices that the server of an idle connection is gone.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// A connector for `http://` and `https://` addresses that limits the length of answers.
pub type Connector = Bounded<HttpsConnector<HttpConnector>>;

/// The reason why nova could not set up the check of certificates.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("this machine has no certificate authorities ({0}): install them, or name a file in the setting ca_file")]
    NoAuthorities(#[source] std::io::Error),
    #[error("ca_file: {path}: {detail}")]
    File { path: PathBuf, detail: String },
    #[error("TLS cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
}

/// The certificates that nova accepts from a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// nova accepts a certificate that is signed by a certificate authority of this machine.
    Machine,
    /// nova accepts a certificate that is signed by a certificate authority in this PEM file.
    File(PathBuf),
    /// nova accepts only the certificate with this SHA-256 (in hexadecimal digits), whatever its names and dates are.
    Certificate(String),
}

impl Trust {
    /// Returns `File` for a PEM file with authorities, or `Machine` if there is no file.
    pub fn of(ca_file: Option<&Path>) -> Trust {
        ca_file.map_or(Trust::Machine, |path| Trust::File(path.to_owned()))
    }
}

/// Makes a connector for an address. The certificate of an `https://` server must be signed by an authority in
/// `ca_file` (PEM), or by an authority of the machine if there is no `ca_file`.
pub fn connector(url: &str, ca_file: Option<&Path>, bound: Bound) -> Result<Connector, TlsError> {
    trusting(url, &Trust::of(ca_file), bound)
}

/// Makes a connector for an address whose server may show a certificate that `trust` allows.
pub fn trusting(url: &str, trust: &Trust, bound: Bound) -> Result<Connector, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = HttpsConnectorBuilder::new();
    let builder = match trust {
        Trust::Machine if url.starts_with("https:") => {
            let provider = aws_lc_rs::default_provider();
            builder.with_provider_and_native_roots(provider).map_err(TlsError::NoAuthorities)?
        }
        // Without TLS nova needs no certificate authority, and the machine may have none.
        Trust::Machine => builder.with_tls_config(without_client(config, RootCertStore::empty())),
        Trust::File(path) => builder.with_tls_config(without_client(config, authorities(path)?)),
        Trust::Certificate(sha256) => {
            let only = Arc::new(Only { sha256: sha256.clone(), provider });
            builder.with_tls_config(config.dangerous().with_custom_certificate_verifier(only).with_no_client_auth())
        }
    };
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_keepalive(Some(TCP_KEEPALIVE));
    Ok(Bounded::new(builder.https_or_http().enable_http1().wrap_connector(http), bound))
}

fn without_client(
    config: rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>,
    roots: RootCertStore,
) -> ClientConfig {
    config.with_root_certificates(roots).with_no_client_auth()
}

/// Returns the SHA-256 of the first certificate in a PEM file, in hexadecimal digits. The first certificate in the file
/// of a server is the server's own certificate.
pub fn fingerprint(path: &Path) -> Result<String, TlsError> {
    let wrong = |detail: String| TlsError::File { path: path.to_owned(), detail };
    let certificate = CertificateDer::from_pem_file(path).map_err(|error| wrong(error.to_string()))?;
    Ok(sha256(&certificate))
}

fn sha256(certificate: &CertificateDer<'_>) -> String {
    hex(&Sha256::digest(certificate))
}

/// Accepts only one certificate. The TLS library still checks that the server has the key of the certificate.
#[derive(Debug)]
struct Only {
    sha256: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Only {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match sha256(certificate) == self.sha256 {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(rustls::Error::General("it is not the certificate that was expected".to_owned())),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Reads the certificate authorities in a PEM file.
pub fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let wrong = |detail: String| TlsError::File { path: path.to_owned(), detail };
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))? {
        roots.add(cert.map_err(|error| wrong(error.to_string()))?).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("has no certificate".to_owned())) } else { Ok(roots) }
}

/// Returns the text of an error with all its causes. The text of the HTTP client's error without its causes is only
/// `client error (Connect)`.
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
