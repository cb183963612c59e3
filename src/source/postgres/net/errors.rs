//! What servers, poolers and networks say, as failures and findings.

use std::error::Error;

use pgwire_replication::PgWireError;

use crate::source::postgres::finding::{Code, Finding};
use crate::source::postgres::server::Failure;
use crate::source::postgres::{fitness, hazards};

use crate::event::Tables;

use super::MESSAGE_MAX_BYTES;
use super::target::Target;

/// The innermost words of an error.
fn cause(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = error.to_string();
        next = error.source();
    }
    text
}

pub(super) fn failed(error: &tokio_postgres::Error) -> Failure {
    match error.as_db_error() {
        Some(db) => told(db.code().code(), db.message()),
        None => Failure::Away(cause(error)),
    }
}

/// An error of the replication session; its text ends with the SQLSTATE where the server told one.
pub(super) fn refused(error: PgWireError) -> Failure {
    match error {
        PgWireError::Server(text) => {
            let code = text.rsplit_once("SQLSTATE ").map_or("", |(_, rest)| rest.trim_end_matches(')'));
            told(if code.len() == 5 { code } else { "" }, &text)
        }
        PgWireError::Auth(text) => Failure::Wrong(format!("the replication session: {text}")),
        PgWireError::MessageTooLarge { payload_bytes, .. } => Failure::Wrong(format!(
            "a change has {payload_bytes} bytes, and at most {MESSAGE_MAX_BYTES} are read: leave its column out of the \
             publication"
        )),
        // Its library compares the name in every mode that checks a certificate.
        PgWireError::Tls(text) if text.contains("not valid for name") => Failure::Away(format!(
            "the replication session: {text}. Name the host in postgres.url as the certificate does, with ssl_mode \
             verify-ca, too"
        )),
        other => Failure::Away(other.to_string()),
    }
}

/// An answer of a server, or of what stands before it. SQLSTATEs are in PostgreSQL's appendix A.
fn told(code: &str, text: &str) -> Failure {
    let has = |part: &str| text.contains(part);
    match code {
        // PgBouncer refuses what it does not know of a start-up packet, Supabase's pooler the user.
        _ if has("unsupported startup parameter")
            || has("Tenant or user not found")
            || has("replication unsupported") =>
        {
            pooler(text).into()
        }
        "53400" if has("replication slots") => hazards::slots_full().into(),
        "53300" if has("wal_senders") || has("standby connections") => hazards::senders_full().into(),
        "42501" if has("replication") => fitness::no_replication_right("").into(),
        "42704" if has("publication") => {
            let name = text.split('"').nth(1).unwrap_or_default();
            hazards::younger(name).repaired_by(Tables::ALL).into()
        }
        "28000" if has("pg_hba.conf") => Failure::Refused {
            code: code.to_owned(),
            text: format!("{text}; a rule for the role and the database is to be added to pg_hba.conf"),
        },
        _ => Failure::Refused { code: code.to_owned(), text: text.to_owned() },
    }
}

fn pooler(text: &str) -> Finding {
    let remedy = "Name the server itself in postgres.url: a pooler (PgBouncer, Supabase's, Neon's hosts with -pooler) passes \
                  no replication";
    Finding::new(Code::Pooler, format!("a pooler answers: {text}"), remedy)
}

/// A connection that was refused, with the place and what most often helps.
pub(super) async fn hinted(failure: Failure, target: &Target) -> Failure {
    let place = format!("{}:{}", target.host, target.port);
    match failure {
        Failure::Away(text) if only_ipv6(target).await => Failure::Away(format!("{place}: {text}. {ONLY_IPV6}")),
        Failure::Away(text) => Failure::Away(format!("{place}: {text}")),
        other => other,
    }
}

const ONLY_IPV6: &str = "The host has an IPv6 address only (Supabase's direct hosts do, and its pooler passes no \
                         replication): give this machine IPv6, or order an IPv4 address";

async fn only_ipv6(target: &Target) -> bool {
    if target.host.starts_with('/') || target.host.parse::<std::net::IpAddr>().is_ok() {
        return false;
    }
    let Ok(found) = tokio::net::lookup_host((target.host.as_str(), target.port)).await else {
        // A resolver may hide addresses that this machine cannot use.
        return target.host.ends_with(".supabase.co");
    };
    let mut found = found.peekable();
    found.peek().is_some() && found.all(|address| address.is_ipv6())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> Failure {
        refused(PgWireError::Server(text.to_owned()))
    }

    #[test]
    fn what_servers_and_poolers_say_has_the_code_of_the_way_out() {
        for (text, code) in [
            ("unsupported startup parameter: replication (SQLSTATE 08P01)", Code::Pooler),
            ("unsupported startup parameter in options: datestyle (SQLSTATE 08P01)", Code::Pooler),
            ("Tenant or user not found (SQLSTATE XX000)", Code::Pooler),
            ("all replication slots are in use (SQLSTATE 53400)", Code::SlotsFull),
            (
                "number of requested standby connections exceeds max_wal_senders (currently 10) (SQLSTATE 53300)",
                Code::SendersFull,
            ),
            ("must be superuser or replication role to start walsender (SQLSTATE 42501)", Code::NoReplicationRight),
            ("permission denied to start WAL sender, for replication (SQLSTATE 42501)", Code::NoReplicationRight),
            ("publication \"nova\" does not exist (SQLSTATE 42704)", Code::PublicationYounger),
            ("replication slot \"nova\" is active for PID 7 (SQLSTATE 55006)", Code::SlotInUse),
            ("no pg_hba.conf entry for replication connection from host (SQLSTATE 28000)", Code::Refused),
            ("anything else (SQLSTATE XX000)", Code::Refused),
        ] {
            assert_eq!(server(text).finding().code, code, "{text}");
        }
        assert!(server("replication slot \"nova\" is active for PID 7 (SQLSTATE 55006)").is_in_use());
        assert_eq!(Failure::Away("refused".to_owned()).finding().code, Code::Unreachable);
    }
}
