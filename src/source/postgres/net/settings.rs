//! The address of a server, the role of the connection, and its security.

use std::path::PathBuf;

/// The address of the server, and the credentials.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConnectSettings {
    /// The address `postgres://user:password@host:port,host:port/database?…`, as libpq accepts it.
    pub url: String,
    /// The file with the password in its first line. It is read for each connection.
    pub password_file: Option<PathBuf>,
    pub ssl_mode: SslMode,
    /// The PEM file of the server's certificate authority. Without one, Mozilla's list is used.
    pub ca_file: Option<PathBuf>,
    pub slot: String,
    pub publication: String,
    /// Whether standbys keep the slot, too, from PostgreSQL 17 on.
    pub failover: bool,
}

/// Prints the settings without the credentials, which are secret.
impl std::fmt::Debug for ConnectSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ConnectSettings({}, {})", self.slot, self.publication)
    }
}

/// The modes of libpq's `sslmode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    Disable,
    /// TLS is used if the server offers it.
    #[default]
    Prefer,
    /// TLS is used without checking the certificate.
    Require,
    /// The certificate must be signed by the authority.
    VerifyCa,
    /// The certificate must be signed by the authority and name the host.
    VerifyFull,
}

impl SslMode {
    pub const ALL: [SslMode; 5] =
        [SslMode::Disable, SslMode::Prefer, SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull];

    pub const fn name(self) -> &'static str {
        match self {
            SslMode::Disable => "disable",
            SslMode::Prefer => "prefer",
            SslMode::Require => "require",
            SslMode::VerifyCa => "verify-ca",
            SslMode::VerifyFull => "verify-full",
        }
    }

    pub fn from_name(name: &str) -> Option<SslMode> {
        SslMode::ALL.into_iter().find(|mode| mode.name() == name)
    }
}
