//! Tests of `nova seed`, which makes a world of users and posts on a running node.

use serde_json::Value;

use crate::api::client::Client;
use crate::support::program::{Serving, nova, out, told};

#[test]
fn a_seed_makes_a_world_on_a_running_node_and_keeps_it_alive() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let node = Serving::start(&data, &[]);
    let seeded = nova(&data, &["--json", "seed", "--users", "30", "--rate", "40", "--seconds", "2"]);
    assert!(seeded.status.success(), "{seeded:?}");
    let world: Value = serde_json::from_str(out(&seeded).lines().next().unwrap()).unwrap();
    let person = world["person"].as_str().unwrap();
    let token = out(&nova(&data, &["token", "--sub", person])).trim().to_owned();
    let feed = Client::connect(node.addr).get("/api/v1/feed?limit=5", &crate::api::client::bearer(&token)).json();
    assert_eq!(feed["posts"].as_array().unwrap().len(), 5, "{feed}");
    let status: Value = serde_json::from_str(&out(&nova(&data, &["--json", "status"]))).unwrap();
    let records = status["counts"]["records"].as_array().unwrap().iter();
    let of = |outcome: &str| -> u64 {
        let of = records.clone().filter(|record| record["outcome"] == outcome);
        of.map(|record| record["count"].as_u64().unwrap()).sum()
    };
    let before = world["rows"].as_u64().unwrap() + world["events"].as_u64().unwrap();
    assert!(of("applied") + of("duplicate") + of("ignored") > before && of("dead") == 0, "{status}");
    // A second `nova seed` of the same world changes nothing. A node refuses `nova seed` if the tables of the node come
    // from Kafka or PostgreSQL.
    assert!(nova(&data, &["seed", "--users", "30", "--rate", "0"]).status.success());
    node.end();
    let node = Serving::start(&data, &[("NOVA_KAFKA_BROKERS", "127.0.0.1:1")]);
    let refused = nova(&data, &["seed", "--users", "30", "--rate", "0"]);
    assert!(!refused.status.success() && told(&refused).contains("the tables come from Kafka"), "{refused:?}");
    drop(node);
}
