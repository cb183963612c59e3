//! The reasons why nova cannot sign or check tokens.

use super::keys::KeySetError;

/// The reason why nova cannot sign or check tokens.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot read or write the development key {path}: {source}")]
    Io { path: String, source: std::io::Error },
    #[error("the development key cannot be used: {0}; remove it to have a new one made")]
    Key(#[from] jsonwebtoken::errors::Error),
    #[error("the development key cannot be used: {0}; remove it to have a new one made")]
    Own(#[from] KeySetError),
    #[error("auth.{setting}: {path}: {detail}")]
    File { setting: &'static str, path: String, detail: String },
    #[error("auth.jwks_url: {0}")]
    Url(String),
    #[error("tokens come from the configured issuer: nova signs its own only while no auth.* setting is made")]
    Configured,
}
