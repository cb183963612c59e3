//! ClickHouse and the Schema Registry behind TLS, with the right certificate authority, with a wrong certificate
//! authority, and without a certificate authority.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nova::decode::{HttpSchemas, RegistrySettings, SchemaLookup, Schemas as _};
use nova::warehouse::clickhouse::{ClickHouse, ClickHouseSettings};
use nova::warehouse::verdict::Failure;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::support::authority::Authority;
use crate::support::clickhouse::Fake;

/// Starts a TLS front for a plain server, with a certificate for localhost, and returns its address.
fn front(authority: &Authority, to: SocketAddr) -> String {
    let (cert, key) = authority.certify("localhost");
    let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into());
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = config.with_single_cert(vec![cert.der().clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut outside) = acceptor.accept(stream).await else { return };
                    let mut inside = tokio::net::TcpStream::connect(to).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                });
            }
        });
    });
    format!("https://localhost:{port}")
}

fn clickhouse(url: &str, ca_file: Option<PathBuf>) -> Result<u64, Failure> {
    let settings = ClickHouseSettings {
        url: url.to_owned(),
        database: "nova".to_owned(),
        user: None,
        password: None,
        ca_file,
        layout: Default::default(),
        timeout: Duration::from_secs(20),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let columns = "SELECT name, type FROM system.columns WHERE table = 'post_events'";
    runtime.block_on(ClickHouse::new(&settings).unwrap().rows(columns)).map(|rows| rows.len() as u64)
}

#[test]
fn clickhouse_is_asked_over_tls_when_its_authority_is_known_and_refused_otherwise() {
    let (authority, other, fake) = (Authority::new(), Authority::new(), Fake::start());
    let url = front(&authority, fake.url.strip_prefix("http://").unwrap().parse().unwrap());
    assert_eq!(clickhouse(&url, Some(authority.file.clone())), Ok(12));
    assert_eq!(clickhouse(&fake.url, None), Ok(12), "plain http");
    for wrong in [Some(other.file.clone()), None] {
        // nova has sent no row to ClickHouse. The rows wait in the outbox, and the message says what a person must
        // check.
        let failure = clickhouse(&url, wrong).unwrap_err();
        assert!(matches!(&failure, Failure::Unreachable(text) if text.contains("certificate")), "{failure}");
    }
    let spoken_plainly = url.replace("https://", "http://");
    assert!(clickhouse(&spoken_plainly, None).is_err());
}

/// Starts a schema registry that has one schema for every id, and returns its address.
fn registry() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut head, mut byte) = (stream.unwrap(), Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            let body = r#"{"schema":"\"long\""}"#;
            let head = format!("HTTP/1.1 200 X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.as_bytes(), body.as_bytes()].concat());
        }
    });
    addr
}

fn schema(url: &str, ca_file: Option<PathBuf>) -> SchemaLookup {
    let timeout = Duration::from_secs(20);
    let settings = RegistrySettings { url: url.to_owned(), ca_file, basic_auth: None, timeout };
    let schemas = HttpSchemas::start(settings, || 0).unwrap();
    loop {
        match schemas.schema(7) {
            SchemaLookup::Unavailable(detail) if detail == "it has been asked for" => {}
            answer => return answer,
        }
    }
}

#[test]
fn the_registry_is_asked_over_tls_when_its_authority_is_known_and_waited_for_otherwise() {
    let (authority, other, plain) = (Authority::new(), Authority::new(), registry());
    let url = front(&authority, plain);
    assert!(matches!(schema(&url, Some(authority.file.clone())), SchemaLookup::Found(_)));
    assert!(matches!(schema(&format!("http://{plain}"), None), SchemaLookup::Found(_)), "plain http");
    for wrong in [Some(other.file.clone()), None] {
        let answer = schema(&url, wrong);
        let refused = matches!(&answer, SchemaLookup::Unavailable(detail) if detail.contains("certificate"));
        assert!(refused, "{answer:?}");
    }
}
