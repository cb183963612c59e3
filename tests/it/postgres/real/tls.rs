//! TLS with a real PostgreSQL server, in each of libpq's modes, and for both SQL and replication sessions.

use std::path::Path;

use serde_json::Value;

use crate::stack::workload::session;
use crate::support::authority::Authority;

use super::cluster::Cluster;
use super::ends_equal;
use super::place::Place;

/// A role whose connections must use TLS.
const ROLE: &str = "over_tls";

/// Returns an address of the server, whose host is a name or an IP address.
fn address(place: &Place, host: &str) -> String {
    let database = place.database().replace("127.0.0.1", host);
    database.replace("postgres@", &format!("{ROLE}@"))
}

/// Returns the code and the words of the first finding of `nova check`. `nova check` opens both an SQL session and a
/// replication session.
fn found(place: &Place, host: &str, mode: &str, ca_file: Option<&Path>) -> Option<(String, String)> {
    let mut check = place.nova();
    check.env("NOVA_POSTGRES_URL", address(place, host)).env("NOVA_POSTGRES_SSL_MODE", mode).args(["check", "--json"]);
    if let Some(path) = ca_file {
        check.env("NOVA_POSTGRES_CA_FILE", path);
    }
    let output = check.output().unwrap();
    let checked: Value = serde_json::from_slice(&output.stdout).unwrap();
    let first = checked["findings"].as_array().unwrap().first()?;
    Some((first["code"].as_str().unwrap().to_owned(), first.to_string()))
}

#[test]
fn verify_full_follows_over_tls_and_takes_neither_another_name_nor_another_authority() {
    let Some(cluster) = Cluster::begin(&["max_slot_wal_keep_size=8GB"]) else { return };
    let (authority, other) = (Authority::new(), Authority::new());
    let (certificate, key) = authority.certify("localhost");
    if !cluster.speak_tls(&certificate.pem(), &key.serialize_pem(), ROLE) {
        return;
    }
    let mut place = Place::at(cluster.url());
    place.run(&format!("CREATE ROLE {ROLE} LOGIN REPLICATION; GRANT pg_read_all_data TO {ROLE}"));
    let (known, unknown) = (Some(&*authority.file), Some(&*other.file));
    for (host, mode, ca_file, finding) in [
        ("localhost", "verify-full", known, None),
        ("127.0.0.1", "verify-full", known, Some(("pg-unreachable", "not valid for name"))),
        ("localhost", "verify-full", unknown, Some(("pg-unreachable", "certificate"))),
        // None of the authorities that browsers know has signed the certificate.
        ("localhost", "verify-full", None, Some(("pg-unreachable", "certificate"))),
        ("localhost", "verify-ca", known, None),
        // The SQL session accepts the mode `verify-ca` for an IP address, and the replication session does not.
        ("127.0.0.1", "verify-ca", known, Some(("pg-unreachable", "Name the host in postgres.url"))),
        ("localhost", "verify-ca", unknown, Some(("pg-unreachable", "certificate"))),
        ("127.0.0.1", "require", None, None),
        ("127.0.0.1", "prefer", None, None),
        ("localhost", "disable", known, Some(("pg-refused", "pg_hba.conf"))),
    ] {
        match (found(&place, host, mode, ca_file), finding) {
            (None, None) => {}
            (Some((found, words)), Some((code, part))) if found == code && words.contains(part) => {}
            (found, _) => panic!("{mode} of {host} with {ca_file:?}: {found:?} instead of {finding:?}"),
        }
    }
    place.set("NOVA_POSTGRES_SSL_MODE", "verify-full");
    place.set("NOVA_POSTGRES_CA_FILE", authority.file.display().to_string());
    session(&mut place.sql(), 1, 40);
    place.start_over(&address(&place, "localhost"));
    place.sentinel();
    session(&mut place.sql(), 2, 40);
    let kinds = "SELECT string_agg(DISTINCT backend_type || ' ' || ssl || ' ' || version, ', ')
                 FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE usename = $1";
    let kinds: String = place.sql().query_one(kinds, &[&ROLE]).unwrap().get(0);
    assert!(kinds.contains("walsender true TLSv1.") && !kinds.contains("false"), "{kinds}");
    ends_equal(&mut place);
    // The certificate of a host that is given as an IP address is also checked.
    let (certificate, key) = authority.certify("127.0.0.1");
    assert!(cluster.speak_tls(&certificate.pem(), &key.serialize_pem(), ROLE));
    assert_eq!(found(&place, "127.0.0.1", "verify-full", known), None);
    place.start_over(&address(&place, "127.0.0.1"));
    session(&mut place.sql(), 3, 40);
    ends_equal(&mut place);
}
