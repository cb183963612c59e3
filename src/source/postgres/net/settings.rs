//! The address of a PostgreSQL server, the role of the connection, and the connection's security.

use std::path::PathBuf;

/// The address of the PostgreSQL server, and the credentials.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConnectSettings {
    /// The address `postgres://user:password@host:port,host:port/database?…`, as libpq accepts it.
    pub url: String,
    /// The file that has the password in its first line. The password file is read for each connection.
    pub password_file: Option<PathBuf>,
    pub ssl_mode: SslMode,
    /// The PEM file of the certificate authority that has signed the server's certificate. Without a file of an
    /// authority, nova uses Mozilla's list of authorities.
    pub ca_file: Option<PathBuf>,
    pub slot: String,
    pub publication: String,
    /// Whether standbys also keep the slot (`failover`), from PostgreSQL 17 on.
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
    /// `prefer`: TLS is used if the server offers it.
    #[default]
    Prefer,
    /// `require`: TLS is used, and the server's certificate is not checked.
    Require,
    /// `verify-ca`: the certificate authority must have signed the server's certificate.
    VerifyCa,
    /// `verify-full`: the certificate authority must have signed the server's certificate, and the certificate must
    /// name the host.
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
