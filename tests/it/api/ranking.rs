//! The parameters of the ranking, as a client and an operator see them.

use std::sync::Arc;

use nova::app::Setup;
use nova::clock::Clock;
use nova::decode::{NoSchemas, Topics};
use nova::event::Id;

use super::client::{Live, NOW_MS};
use super::trending::{post, until_shown, world};

#[test]
fn lists_are_as_long_as_is_set_and_windows_that_are_not_kept_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(dir.path(), Topics::default(), Arc::new(NoSchemas));
    setup.clock = Clock::manual(NOW_MS);
    setup.edge.limits.enabled = false;
    setup.state.ranking.trending.list_max = 5;
    setup.state.ranking.trending.windows = [true, false, true, false];
    setup.state.ranking.weights[1] = 7;
    let ranking = setup.state.ranking;
    let live = Live::of(dir, &setup);
    world(&live);
    let (mut client, admin) = (live.client(), live.role(Id::from_u128(9), "admin"));
    until_shown(&mut client, post(29));
    let list = client.get("/api/v1/feed/trending?window=1h&limit=200", "").json();
    let posts = list["posts"].as_array().unwrap();
    assert_eq!((posts.len(), list["total_posts"].as_u64()), (5, Some(29)));
    assert_eq!((posts[0]["views"].as_u64(), posts[0]["score"].as_f64()), (Some(29), Some(20.3)));
    for path in ["/api/v1/feed/trending", "/api/v1/feed/trending/stream", "/api/v1/admin/lists/trending"] {
        for window in ["6h", "7d", "2h"] {
            let answer = client.get(&format!("{path}?window={window}"), &admin);
            assert_eq!(answer.status, 400, "{path}");
            assert_eq!(answer.json()["detail"], "window: expected 1h or 24h: trending.windows keeps no other");
        }
    }
    let fingerprint = format!("{:016x}", ranking.fingerprint());
    let metrics = String::from_utf8(client.get("/metrics", "").body).unwrap();
    assert!(metrics.contains(&format!("nova_ranking_info{{fingerprint=\"{fingerprint}\"}} 1")), "{metrics}");
    let path = format!("/api/v1/admin/explain?user_id={}&post_id={}", Id::from_u128(77), post(29));
    let explained = client.get(&path, &admin).json();
    assert_eq!(explained["shown"], true, "{explained}");
    let shown = &explained["ranking"];
    assert_eq!(
        (shown["fingerprint"].as_str(), &shown["windows"]),
        (Some(&*fingerprint), &serde_json::json!(["1h", "24h"]))
    );
    let number = |name: &str| shown["numbers"][name].as_f64();
    assert_eq!((number("engagement.view_weight"), number("trending.list_max")), (Some(0.7), Some(5.0)));
    assert_eq!(explained["item"]["features"]["engagement"], 20.3);
}
