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
    pub console: ConsoleMode,
    pub keys: KeySettings,
    pub limits: LimitSettings,
}

/// What the console may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConsoleMode {
    /// There is none.
    Off,
    /// It shows, and changes nothing, whoever is signed in.
    Read,
    /// It shows; whoever is signed in with the role admin can act, and nobody else.
    #[default]
    Full,
}

impl ConsoleMode {
    pub const ALL: [ConsoleMode; 3] = [ConsoleMode::Off, ConsoleMode::Read, ConsoleMode::Full];

    pub const fn name(self) -> &'static str {
        match self {
            ConsoleMode::Off => "off",
            ConsoleMode::Read => "read",
            ConsoleMode::Full => "full",
        }
    }
}

/// Of `auth.issuer` and `auth.audience`: whoever the key set signs for.
pub const ANY: &str = "*";

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
            console: ConsoleMode::default(),
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
    pub hs256_secret_file: Option<PathBuf>,
    /// Or [`ANY`].
    pub issuer: Option<String>,
    /// One of them has to be the token's, or [`ANY`].
    pub audience: Vec<String>,
    /// The claim that names the user; unset: `sub`.
    pub subject_claim: Option<String>,
    /// The only `typ` that is accepted.
    pub require_typ: Option<String>,
}

impl KeySettings {
    /// Whether only the development key is used.
    pub fn development(&self) -> bool {
        *self == KeySettings::default()
    }

    /// What is not checked of the tokens of a key set although nobody said so: an issuer signs for other applications
    /// too. A shared secret is for one application.
    pub fn unchecked(&self) -> Vec<String> {
        let set = self.jwks_file.is_some() || self.jwks_url.is_some();
        let said = [
            ("auth.issuer", "any issuer", self.issuer.is_some()),
            ("auth.audience", "any application", !self.audience.is_empty()),
        ];
        let unset = said.into_iter().filter(|(.., said)| set && !said);
        let told = unset.map(|(key, whose, _)| {
            format!(
                "{key} is not set: tokens of the key set for {whose} are taken; set it, or to \"{ANY}\" to have it so"
            )
        });
        told.collect()
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
        let set = keys.jwks_file.is_some() || keys.jwks_url.is_some();
        if set && keys.hs256_secret_file.is_some() {
            problems.push("auth.hs256_secret_file: stands beside a key set; leave one out".to_owned());
        }
        if !keys.development() && !set && keys.hs256_secret_file.is_none() {
            let problem = "auth.jwks_file: is needed, or auth.jwks_url or auth.hs256_secret_file, where another setting of [auth] is made";
            problems.push(problem.to_owned());
        }
        problems
    }
}
