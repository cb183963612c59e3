//! Where a server is, as whom nova connects to it, and how that is secured.

use std::path::PathBuf;

/// Where the server is, and as whom.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConnectSettings {
    /// `postgres://user:password@host:port,host:port/database?…`, as libpq takes it.
    pub url: String,
    /// Has the password in its first line; read for each connection.
    pub password_file: Option<PathBuf>,
    pub ssl_mode: SslMode,
    /// PEM file of the server's certificate authority. Without one: Mozilla's list.
    pub ca_file: Option<PathBuf>,
    pub slot: String,
    pub publication: String,
    /// A slot that a standby keeps, too, from PostgreSQL 17 on.
    pub failover: bool,
}

/// Credentials are nobody's to read.
impl std::fmt::Debug for ConnectSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ConnectSettings({}, {})", self.slot, self.publication)
    }
}

/// libpq's `sslmode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    Disable,
    /// Where the server offers it.
    #[default]
    Prefer,
    /// Without a look at the certificate.
    Require,
    /// The certificate is signed by the authority.
    VerifyCa,
    /// And is the host's.
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
