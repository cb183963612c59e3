//! The settings of the edge, with units in their names.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use super::limit::LimitSettings;

/// The settings of the edge. The default settings have one listener without TLS, the development key, and limits that
/// only abuse reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeSettings {
    /// The only address on which nova serves `/metrics` and the admin routes. Without `admin_listen`, nova serves the
    /// admin routes and `/metrics` on the API's address.
    pub admin_listen: Option<SocketAddr>,
    /// The PEM file of the certificate chain. Either both `tls_cert` and `tls_key` (the PEM file of the private key)
    /// are set, or neither of them is set.
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    /// The origins from which browsers may call, or `*`.
    pub cors_origins: Vec<String>,
    /// The networks of trusted proxies, whose `X-Forwarded-For` or `Forwarded` nova uses.
    pub trusted_proxies: Vec<IpNet>,
    /// The time for which nova keeps an idle connection, in seconds.
    pub idle_timeout_s: u32,
    pub console: ConsoleMode,
    pub keys: KeySettings,
    pub limits: LimitSettings,
}

/// What people can do with the console.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConsoleMode {
    /// The node has no console.
    Off,
    /// The console shows data and changes nothing, whoever is signed in.
    Read,
    /// The console shows data, and people with the role admin can change something.
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

/// The value of `auth.issuer` and `auth.audience` that allows every issuer or audience of the key set.
pub const ANY: &str = "*";

/// The default time for which nova keeps an idle connection, in seconds. The default is longer than the time for which
/// load balancers keep an idle connection (AWS, Azure and nginx: 60 s). If nova closed an idle connection earlier than
/// the load balancer, the load balancer could send a request on a closed connection.
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

/// The settings that decide whose tokens are valid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySettings {
    pub jwks_file: Option<PathBuf>,
    pub jwks_url: Option<String>,
    pub hs256_secret_file: Option<PathBuf>,
    /// The issuer of valid tokens, or `"*"`.
    pub issuer: Option<String>,
    /// The audiences of valid tokens, of which a token must have one, or `"*"`.
    pub audience: Vec<String>,
    /// The claim of a token that names the user (default: `sub`).
    pub subject_claim: Option<String>,
    /// The only `typ` of tokens that nova accepts, or `None` if nova accepts each `typ` of a JWT.
    pub require_typ: Option<String>,
}

impl KeySettings {
    /// Whether only the development key is used.
    pub fn development(&self) -> bool {
        *self == KeySettings::default()
    }

    /// Warnings that nova does not check the issuer or the audience of a key set's tokens, because the setting for it
    /// is not set. The issuer of a key set also signs tokens for applications other than nova. A shared secret needs no
    /// warning, because it is for one application.
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
    /// The contradictions between settings of the edge. Each text begins with the key of a setting.
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
