//! The note in the data directory that says at which addresses a node listens.

use std::net::SocketAddr;

use crate::data_dir::listening::Listening;
use crate::http::EdgeSettings;
use crate::tls;

/// Makes the note of a node that has the settings `edge` and serves its admin routes at `addr`.
pub fn listening(edge: &EdgeSettings, addr: SocketAddr) -> Listening {
    let scheme = if edge.tls_cert.is_some() { "https" } else { "http" };
    let certificate = edge.tls_cert.as_deref().and_then(|path| tls::fingerprint(path).ok());
    Listening::at(scheme, addr, edge.keys.development(), certificate)
}
