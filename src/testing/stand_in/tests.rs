use super::*;
use crate::breaker::BreakerState;
use crate::testing::felt::{MET_ENOUGH, MET_JUDGED};
use crate::warehouse::lint::lint;
use crate::warehouse::migrate::{MIGRATIONS, migrate};
use crate::warehouse::verdict::{Failure, Verdict, verdict};

fn on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn fault(json: &str) -> Option<ClickHouseFault> {
    Some(serde_json::from_str(json).unwrap())
}

async fn inserted(clickhouse: &ClickHouse) -> Result<(), Failure> {
    clickhouse.insert(Target::Events, Target::Events.columns(), Bytes::new(), "token", "id").await
}

#[test]
fn it_is_migrated_once_and_nothing_is_wrong_with_its_tables() {
    let stand_in = Arc::<StandIn>::default();
    let clickhouse = stand_in.client(0);
    on(async {
        assert_eq!(migrate(&clickhouse).await.unwrap().len(), MIGRATIONS.len());
        assert!(migrate(&stand_in.client(1)).await.unwrap().is_empty());
        assert!(lint(&clickhouse).await.unwrap().is_empty());
        inserted(&clickhouse).await.unwrap();
        let asked = "SELECT DISTINCT _nova_batch FROM post_events WHERE _nova_batch IN (3, 5) AND _nova_store = 7";
        assert_eq!(clickhouse.rows(asked).await.unwrap(), [["3"], ["5"]]);
    });
}

#[test]
fn a_code_refuses_inserts_alone_and_ends_with_its_last_time() {
    let stand_in = Arc::<StandIn>::default();
    let clickhouse = stand_in.client(0);
    stand_in.set(fault(r#"{ "code": 241, "body": "Memory limit exceeded", "times": 2 }"#));
    on(async {
        clickhouse.run("KILL QUERY WHERE 1 SYNC").await.unwrap();
        for _ in 0..2 {
            assert!(stand_in.felt().is_some());
            let failure = inserted(&clickhouse).await.unwrap_err();
            assert_eq!(failure.to_string(), "Code: 241. DB::Exception: Memory limit exceeded");
            assert_eq!(verdict(&failure), Verdict::Overload);
        }
        assert!(stand_in.felt().is_none());
        inserted(&clickhouse).await.unwrap();
    });
}

#[test]
fn only_what_the_present_fault_caused_shows_that_it_keeps_rows() {
    let stand_in = Arc::<StandIn>::default();
    let clickhouse = stand_in.client(0);
    let put = |json: &str| {
        stand_in.set(fault(json));
        stand_in.felt().unwrap()
    };
    for (json, keeps_rows) in [
        (r#"{ "refuses": true }"#, true),
        (r#"{ "status": 503 }"#, true),
        (r#"{ "code": 60, "slow_ms": 10 }"#, true),
        (r#"{ "slow_ms": 1000 }"#, true),
        (r#"{ "slow_ms": 999 }"#, false),
    ] {
        let felt = put(json);
        assert_eq!((felt.met, felt.keeps_rows), (0, keeps_rows), "{json}");
        assert!(!felt.keeps_all(BreakerState::Open), "the breaker opened before {json}");
        assert!(!felt.stalls(Some("Code: 60. DB::Exception: a test says so")), "the table stalled before {json}");
    }
    let refused = on(async {
        put(r#"{ "slow_ms": 0 }"#);
        for _ in 0..2 * MET_ENOUGH {
            inserted(&clickhouse).await.unwrap();
        }
        assert!(!stand_in.felt().unwrap().keeps_all(BreakerState::Closed), "a slow server takes rows");
        put(r#"{ "code": 60 }"#);
        inserted(&clickhouse).await.unwrap_err().to_string()
    });
    let felt = stand_in.felt().unwrap();
    assert!(felt.stalls(Some(&refused)) && !felt.stalls(Some("Code: 81. DB::Exception: no")) && !felt.stalls(None));
    assert!(!felt.keeps_all(BreakerState::HalfOpen), "the first request may be the trial of an open breaker");
    assert!(Felt { met: MET_JUDGED, ..felt.clone() }.keeps_all(BreakerState::Open));
    assert!(Felt { met: MET_ENOUGH, ..felt }.keeps_all(BreakerState::Closed));
}

#[test]
fn a_status_answers_everything_and_a_server_that_is_away_takes_no_connection() {
    let stand_in = Arc::<StandIn>::default();
    let clickhouse = stand_in.client(0);
    on(async {
        inserted(&clickhouse).await.unwrap();
        stand_in.set(fault(r#"{ "status": 503 }"#));
        for failure in [inserted(&clickhouse).await, clickhouse.run("SELECT 1").await].map(Result::unwrap_err) {
            assert_eq!(failure, Failure::Refused { code: None, text: "503 Service Unavailable".to_owned() });
        }
        stand_in.set(fault(r#"{ "refuses": true }"#));
        // The fault of the stand-in breaks off the existing connection and refuses a new connection.
        assert!(inserted(&clickhouse).await.is_err());
        assert!(matches!(clickhouse.run("SELECT 1").await, Err(Failure::Unreachable(_))));
        stand_in.set(fault(r#"{ "slow_ms": 10000 }"#));
        assert_eq!(inserted(&clickhouse).await, Err(Failure::TimedOut));
        // The fault does not apply to requests of a replaced node.
        stand_in.set(fault(r#"{ "refuses": true }"#));
        inserted(&stand_in.client(1)).await.unwrap();
        stand_in.begin(1);
        inserted(&clickhouse).await.unwrap();
    });
}
