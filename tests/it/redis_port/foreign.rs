//! Connections to the Redis port that do not come from Redis clients, and mistakes of Redis clients.

use std::io::Write as _;

use super::client::{Redis, Told, encoded};
use super::{as_role, error, fresh, live};

/// Cross-protocol scripting: a web page makes the browser send Redis commands to the port in the body of a request.
#[test]
fn a_request_of_http_ends_the_connection_without_a_word_and_its_body_does_nothing() {
    let live = live();
    let head = "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\n\r\n";
    let request = |redis: &mut Redis, bytes: &[u8]| {
        redis.stream.write_all(&[bytes, b"SET x 1\r\n"].concat()).unwrap();
        assert_eq!(redis.told(), None, "{}", String::from_utf8_lossy(bytes));
    };
    for bytes in [
        head.as_bytes().to_vec(),
        head.to_ascii_lowercase().into_bytes(),
        b"PING\r\nhOsT: x\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: x\r\n".to_vec(),
        encoded(&[b"post"]),
        encoded(&[b"Host:", b"x"]),
    ] {
        request(&mut as_role(&live, fresh(), Some("service")), &bytes);
        request(&mut Redis::connect(live.redis.unwrap()), &bytes);
    }
    let mut redis = as_role(&live, fresh(), Some("service"));
    assert_eq!(redis.ask("GET x"), Told::Null);
    // As arguments of a command, the words of HTTP are ordinary text.
    assert_eq!(redis.ask("SET post host:"), Told::Simple("OK".to_owned()));
    error(redis.ask("posts"), "ERR unknown command");
}

#[test]
fn a_subcommand_with_the_wrong_number_of_arguments_is_told_so_in_the_words_of_redis() {
    let live = live();
    let mut redis = as_role(&live, fresh(), Some("service"));
    for (asked, name) in [
        ("CLIENT ID x", "client|id"),
        ("CLIENT GETNAME x", "client|getname"),
        ("CLIENT SETNAME", "client|setname"),
        ("CLIENT NO-EVICT", "client|no-evict"),
        ("client info x", "client|info"),
        ("COMMAND COUNT x", "command|count"),
    ] {
        error(redis.ask(asked), &format!("ERR wrong number of arguments for '{name}' command"));
    }
    error(redis.ask("CLIENT NOSUCH"), "ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP.");
    error(redis.ask("COMMAND NOSUCH x"), "ERR unknown subcommand 'NOSUCH'. Try COMMAND HELP.");
    error(redis.ask("COMMAND LIST x"), "ERR syntax error");
    error(redis.ask("CLIENT NO-TOUCH perhaps"), "ERR syntax error");
    assert_eq!(redis.ask("CLIENT NO-TOUCH on"), Told::Simple("OK".to_owned()));
    assert!(matches!(redis.ask("CLIENT LIST ID 1"), Told::Bulk(_)));
}
