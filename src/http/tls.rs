//! TLS connections of clients use rustls with the cryptography of aws-lc, like all TLS connections of nova.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The names of protocols in ALPN (RFC 7301, RFC 9113 §3.1).
pub(super) const HTTP_2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// Makes an acceptor of TLS 1.2 and 1.3 for HTTP/2 and HTTP/1.1, with the certificate chain and the key of two PEM
/// files.
pub(super) fn acceptor(cert: &Path, key: &Path) -> io::Result<TlsAcceptor> {
    let wrong = |name: &str, path: &Path, error: &dyn std::fmt::Display| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{name}: {}: {error}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(cert).map_err(|error| wrong("http.tls_cert", cert, &error))?;
    let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(|error| wrong("http.tls_cert", cert, &error))?;
    if chain.is_empty() {
        return Err(wrong("http.tls_cert", cert, &"has no certificate"));
    }
    crate::files::check_private_key(key).map_err(|error| wrong("http.tls_key", key, &error))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong("http.tls_key", key, &error))?;
    let builder = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into());
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    let config = builder.with_no_client_auth().with_single_cert(chain, secret);
    let mut config = config.map_err(|error| wrong("http.tls_cert", cert, &error))?;
    config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1_1.to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
