//! What can be configured about the edge; the units are in the names.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use super::limit::LimitSettings;

/// See the module. The default is one plain listener, the development key, and limits that only abuse meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeSettings {
    /// Where `/metrics` and the admin routes are, and nowhere else; unset: with the API.
    pub admin_listen: Option<SocketAddr>,
    /// PEM files of the certificate chain and its key; both or none.
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    /// Origins that browsers may call from, or `*`.
    pub cors_origins: Vec<String>,
    /// Whose `X-Forwarded-For` or `Forwarded` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long a connection without a request is kept, seconds.
    pub idle_timeout_s: u32,
    pub keys: KeySettings,
    pub limits: LimitSettings,
}

/// Longer than what is in front keeps its side of a connection: AWS, Azure and nginx 60 s. Whoever closes first must be
/// the one that asks, else a request meets a closed connection.
pub const IDLE_TIMEOUT_DEFAULT_S: u32 = 75;

impl Default for EdgeSettings {
    fn default() -> EdgeSettings {
        EdgeSettings {
            admin_listen: None,
            tls_cert: None,
            tls_key: None,
            cors_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            idle_timeout_s: IDLE_TIMEOUT_DEFAULT_S,
            keys: KeySettings::default(),
            limits: LimitSettings::default(),
        }
    }
}

/// Whose tokens are valid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySettings {
    pub jwks_file: Option<PathBuf>,
    pub jwks_url: Option<String>,
    pub issuer: Option<String>,
    pub audience: Option<String>,
}

impl KeySettings {
    /// Whether only the development key is used.
    pub fn development(&self) -> bool {
        *self == KeySettings::default()
    }
}

impl EdgeSettings {
    /// What does not fit together, each beginning with its key.
    pub fn problems(&self) -> Vec<String> {
        let keys = &self.keys;
        let mut problems = Vec::new();
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            problems.push("http.tls_cert: needs http.tls_key, and the other way round".to_owned());
        }
        if keys.jwks_file.is_some() && keys.jwks_url.is_some() {
            problems.push("auth.jwks_url: stands beside auth.jwks_file; leave one out".to_owned());
        }
        if !keys.development() && keys.jwks_file.is_none() && keys.jwks_url.is_none() {
            let problem = "auth.jwks_file: is needed, or auth.jwks_url, where auth.issuer or auth.audience is set";
            problems.push(problem.to_owned());
        }
        problems
    }
}
