//! TLS for connections to PostgreSQL with libpq's modes. SQL connections use rustls with aws-lc, like all other
//! connections of nova. Replication sessions use a TLS provider of their own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pgwire_replication::{SslMode as ReplicationSslMode, TlsConfig};
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::source::postgres::server::Failure;
use crate::tls::authorities;

use super::errors::failed;
use super::settings::SslMode;

/// Returns the TLS settings of the replication session with a host.
pub(super) fn replication_tls(mode: SslMode, ca_file: Option<PathBuf>, host: &str) -> TlsConfig {
    let mode = match mode {
        SslMode::Disable => ReplicationSslMode::Disable,
        SslMode::Prefer => ReplicationSslMode::Prefer,
        SslMode::Require => ReplicationSslMode::Require,
        SslMode::VerifyCa => ReplicationSslMode::VerifyCa,
        SslMode::VerifyFull => ReplicationSslMode::VerifyFull,
    };
    // Without `sni_hostname`, the library does not check the certificate of a host that is given as an IP address.
    TlsConfig { mode, ca_pem_path: ca_file, sni_hostname: Some(host.to_owned()), ..TlsConfig::default() }
}

/// The TLS settings of SQL connections.
pub(super) struct Tls {
    mode: SslMode,
    config: Option<ClientConfig>,
}

impl Tls {
    pub fn new(mode: SslMode, ca_file: Option<&Path>) -> Result<Tls, Failure> {
        let wrong = |error: &dyn std::fmt::Display| Failure::Wrong(format!("postgres.ca_file: {error}"));
        if mode == SslMode::Disable {
            return Ok(Tls { mode, config: None });
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| wrong(&error))?.dangerous();
        let roots = match ca_file {
            Some(path) => authorities(path).map_err(|error| wrong(&error))?,
            None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        };
        let verifier: Arc<dyn ServerCertVerifier> = match mode {
            SslMode::VerifyCa | SslMode::VerifyFull => {
                let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
                let chain = chain.build().map_err(|error| wrong(&error))?;
                if mode == SslMode::VerifyFull { chain } else { Arc::new(Named { chain: Some(chain), provider }) }
            }
            SslMode::Disable | SslMode::Prefer | SslMode::Require => Arc::new(Named { chain: None, provider }),
        };
        let config = builder.with_custom_certificate_verifier(verifier).with_no_client_auth();
        Ok(Tls { mode, config: Some(config) })
    }

    /// Opens an SQL connection. A task on this thread reads and writes the connection.
    pub async fn connect(&self, config: &Config, host: &str) -> Result<Client, Failure> {
        let mut config = config.clone();
        // A connection over a Unix socket uses no TLS.
        let tls = self.config.clone().filter(|_| !host.starts_with('/'));
        let Some(tls) = tls else {
            config.ssl_mode(tokio_postgres::config::SslMode::Disable);
            let (client, connection) = config.connect(NoTls).await.map_err(|error| failed(&error))?;
            tokio::spawn(connection);
            return Ok(client);
        };
        config.ssl_mode(match self.mode {
            SslMode::Prefer => tokio_postgres::config::SslMode::Prefer,
            _ => tokio_postgres::config::SslMode::Require,
        });
        let (client, connection) = config.connect(MakeRustlsConnect::new(tls)).await.map_err(|error| failed(&error))?;
        tokio::spawn(connection);
        Ok(client)
    }
}

/// Accepts a certificate that does not name the host, like libpq's `verify-ca`. Without a `chain`, `Named` also accepts
/// a certificate that no authority has signed, like libpq's `require`. The signatures of the TLS handshake are always
/// checked.
#[derive(Debug)]
struct Named {
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // rustls checks the name in the certificate after the chain of authorities, so the chain is valid if only
            // the name is wrong.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The library of the replication session installs its own TLS provider for the process.
    #[test]
    fn tls_of_novas_own_is_aws_lc_whatever_the_process_has_as_its_default() {
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        for mode in SslMode::ALL.into_iter().filter(|mode| *mode != SslMode::Disable) {
            let tls = Tls::new(mode, None).unwrap();
            let shown = format!("{:?}", tls.config.unwrap().crypto_provider().secure_random);
            assert!(shown.to_lowercase().contains("aws"), "{mode:?}: {shown}");
        }
    }
}
