//! Turns the errors of PostgreSQL servers, poolers and networks into failures and findings.

use std::error::Error;

use pgwire_replication::PgWireError;

use crate::source::postgres::finding::{Code, Finding};
use crate::source::postgres::server::Failure;
use crate::source::postgres::{around, fitness, hazards};

use crate::event::Tables;

use super::target::Target;

/// Returns the text of the innermost cause of an error.
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
        None => broken(cause(error)),
    }
}

/// Returns the failure for a connection that did not succeed because of a setting of nova; the text of the libraries
/// tells which setting.
fn broken(text: String) -> Failure {
    let has = |part: &str| text.contains(part);
    let remedy = match () {
        () if has("password missing") => return Failure::Wrong(format!("the server asks for a password: {PASSWORD}")),
        () if has("channel binding") => {
            "Leave channel_binding=require out of postgres.url, or let the server speak TLS and SCRAM: postgres.ssl_mode = require"
        }
        // The library of the replication session compares the host name in every TLS mode that checks a certificate.
        () if has("not valid for name") => {
            "Name the host in postgres.url as the certificate does, with postgres.ssl_mode = verify-ca, too; require checks no \
             certificate"
        }
        () if has("UnknownIssuer") || has("BadSignature") => {
            "Give the PEM file of the authority that signed the server's certificate: postgres.ca_file (without it Mozilla's \
             list holds). postgres.ssl_mode = require checks no certificate"
        }
        () if has("invalid peer certificate") => {
            "The server needs another certificate; until then postgres.ssl_mode = require checks none"
        }
        () if has("not support TLS") => {
            "The server has ssl = off: switch it on there, or postgres.ssl_mode = prefer (or disable), where the network \
             between is nobody else's"
        }
        () => return Failure::Away(text),
    };
    Finding::new(Code::Unreachable, text, remedy).into()
}

const PASSWORD: &str = "write it into the first line of a file that postgres.password_file names, or into postgres.url (nova \
                        reads neither PGPASSWORD nor ~/.pgpass)";

/// Returns the failure for an error of the replication session. The failure's text ends with the SQLSTATE if the server
/// sent one.
pub(super) fn refused(error: PgWireError) -> Failure {
    match error {
        PgWireError::Server(text) => {
            let code = text.rsplit_once("SQLSTATE ").map_or("", |(_, rest)| rest.trim_end_matches(')'));
            told(if code.len() == 5 { code } else { "" }, &text)
        }
        // The library of the replication session is built without MD5 authentication.
        PgWireError::Auth(text) if text.contains("auth method code: 5") => Failure::Wrong(format!(
            "the replication session: the server asks for the password as MD5, which the session does not speak. Store it as \
             SCRAM: SET password_encryption = 'scram-sha-256', then set the role's password again in the same session (in psql: \
             \\password nova); pg_hba.conf may go on saying md5 ({text})"
        )),
        PgWireError::Auth(text) => Failure::Wrong(format!("the replication session: {text}")),
        PgWireError::MessageTooLarge { payload_bytes, limit_bytes } => Failure::Wrong(format!(
            "a change has {payload_bytes} bytes, and at most {limit_bytes} are read: leave its column out of the \
             publication"
        )),
        PgWireError::Tls(text) => broken(format!("the replication session: {text}")),
        other => Failure::Away(other.to_string()),
    }
}

/// Returns the failure for an error that a server, or a pooler in front of the server, has sent. Appendix A of
/// PostgreSQL's manual lists the SQLSTATEs.
fn told(code: &str, text: &str) -> Failure {
    let has = |part: &str| text.contains(part);
    match code {
        // PgBouncer refuses unknown options in a start-up packet, and Supabase's pooler refuses the user.
        _ if has("unsupported startup parameter")
            || has("Tenant or user not found")
            || has("replication unsupported") =>
        {
            pooler(text).into()
        }
        "53400" if has("replication slots") => hazards::slots_full().into(),
        "53300" if has("wal_senders") || has("standby connections") => hazards::senders_full().into(),
        // PostgreSQL also uses SQLSTATE 42501 if an administrator may not change a role.
        "42501" if has("walsender") || has("WAL sender") || has("replication slots") => {
            fitness::no_replication_right("").into()
        }
        "42501" if has("row-level security") => {
            around::hides_rows("", text.split('"').nth(1).unwrap_or("a table")).into()
        }
        // PostgreSQL uses SQLSTATE 42704 also for a relation that is not part of the publication. The text shows which
        // of the two errors has occurred.
        "42704" if text.contains("publication \"") && has("does not exist") => {
            let name = text.split('"').nth(1).unwrap_or_default();
            hazards::younger(name).repaired_by(Tables::ALL).into()
        }
        NO_TEXT | NO_TEXT_EITHER => Failure::Refused {
            code: code.to_owned(),
            text: format!(
                "{text}: a value of a followed table is no UTF-8, as a database with the encoding SQL_ASCII takes any bytes; it is \
                 to be corrected there (docs/postgres.md, \"Limits\")"
            ),
        },
        "28P01" => Failure::Refused {
            code: code.to_owned(),
            text: format!("{text}; the password is that of postgres.password_file, else of postgres.url"),
        },
        "28000" if has("pg_hba.conf") => Failure::Refused {
            code: code.to_owned(),
            text: format!("{text}; a rule for the role and the database is to be added to pg_hba.conf"),
        },
        _ => Failure::Refused { code: code.to_owned(), text: text.to_owned() },
    }
}

/// The SQLSTATE for bytes that are not text in the server's encoding or in UTF-8 (`character_not_in_repertoire`,
/// `untranslatable_character`).
const NO_TEXT: &str = "22021";
const NO_TEXT_EITHER: &str = "22P05";

/// Returns the failure of a table's copy. The failure names the table, and says how to find the rows whose bytes are
/// not valid text.
pub(super) fn of_copy(failure: Failure, name: &str, texts: &[String]) -> Failure {
    match failure {
        Failure::Refused { code, text } if code == NO_TEXT || code == NO_TEXT_EITHER => {
            let odd: Vec<_> = texts.iter().map(|column| format!("{column} ~ '[^\\x01-\\x7F]'")).collect();
            let rows = format!("SELECT id FROM {name} WHERE {}", odd.join(" OR "));
            Failure::Refused { code, text: format!("the copy of {name}: {text}. The rows are among these: {rows}") }
        }
        Failure::Refused { code, text } => Failure::Refused { code, text: format!("the copy of {name}: {text}") },
        other => other,
    }
}

fn pooler(text: &str) -> Finding {
    let remedy = "Name the server itself in postgres.url: a pooler (PgBouncer, Supabase's, Neon's hosts with -pooler) passes \
                  no replication";
    Finding::new(Code::Pooler, format!("a pooler answers: {text}"), remedy)
}

/// Returns the failure of a refused connection, with the host and the most frequent remedy.
pub(super) async fn hinted(failure: Failure, target: &Target) -> Failure {
    let place = format!("{}:{}", target.host, target.port);
    match failure {
        Failure::Away(text) if only_ipv6(target).await => Failure::Away(format!("{place}: {text}. {ONLY_IPV6}")),
        Failure::Away(text) => Failure::Away(format!("{place}: {text}")),
        Failure::Found(finding) if finding.code == Code::Unreachable => {
            Finding { detail: format!("{place}: {}", finding.detail), ..*finding }.into()
        }
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
        // A resolver may hide IPv6 addresses that this machine cannot use.
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
            ("relation \"users\" is not part of the publication (SQLSTATE 42704)", Code::Refused),
            ("must be superuser to alter replication users (SQLSTATE 42501)", Code::Refused),
            (
                "query would be affected by row-level security policy for table \"posts\" (SQLSTATE 42501)",
                Code::RowSecurity,
            ),
            ("invalid byte sequence for encoding \"UTF8\": 0xff (SQLSTATE 22021)", Code::Refused),
            ("replication slot \"nova\" is active for PID 7 (SQLSTATE 55006)", Code::SlotInUse),
            ("no pg_hba.conf entry for replication connection from host (SQLSTATE 28000)", Code::Refused),
            ("anything else (SQLSTATE XX000)", Code::Refused),
        ] {
            assert_eq!(server(text).finding().code, code, "{text}");
        }
        assert!(server("invalid byte sequence (SQLSTATE 22021)").to_string().contains("SQL_ASCII"));
        let policy = "query would be affected by row-level security policy for table \"posts\" (SQLSTATE 42501)";
        assert!(server(policy).to_string().contains("ALTER ROLE nova BYPASSRLS"));
        assert!(server("replication slot \"nova\" is active for PID 7 (SQLSTATE 55006)").is_in_use());
        assert_eq!(Failure::Away("refused".to_owned()).finding().code, Code::Unreachable);
    }

    #[test]
    fn what_a_setting_of_novas_corrects_names_the_setting() {
        let (away, refused_by) = (Code::Unreachable, Code::Refused);
        for (failure, code, words) in [
            (broken("password missing".to_owned()), refused_by, "postgres.password_file"),
            (broken("password missing".to_owned()), refused_by, "PGPASSWORD"),
            (broken("invalid peer certificate: UnknownIssuer".to_owned()), away, "postgres.ca_file"),
            (
                broken("invalid peer certificate: certificate not valid for name \"h\"".to_owned()),
                away,
                "Name the host in postgres.url",
            ),
            (broken("server does not support TLS".to_owned()), away, "postgres.ssl_mode"),
            (refused(PgWireError::Tls("server does not support TLS".to_owned())), away, "postgres.ssl_mode"),
            (broken("connection refused".to_owned()), away, "Start the server"),
            (refused(PgWireError::Auth("unsupported auth method code: 5".to_owned())), refused_by, "scram-sha-256"),
            (server("password authentication failed (SQLSTATE 28P01)"), refused_by, "postgres.password_file"),
        ] {
            let found = failure.finding();
            assert!(found.code == code && found.to_string().contains(words), "{words}: {found}");
        }
    }

    #[test]
    fn a_copy_that_ends_at_a_value_names_the_table_and_the_rows_among_which_it_is() {
        let texts = ["\"caption\"".to_owned(), "\"status\"".to_owned()];
        let failure = of_copy(server("invalid byte sequence (SQLSTATE 22021)"), "\"app\".\"posts\"", &texts);
        let statement = r#"SELECT id FROM "app"."posts" WHERE "caption" ~ '[^\x01-\x7F]' OR "status" ~ '[^\x01-\x7F]'"#;
        assert!(failure.to_string().contains(statement), "{failure}");
        let other = of_copy(server("no such thing (SQLSTATE 42P01)"), "t", &texts);
        assert!(other.to_string().starts_with("the copy of t: no such thing"), "{other}");
    }
}
