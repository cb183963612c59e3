//! The routes that only a server for tests has.

use http::Method;

use crate::http::rows::Rows;
use crate::http::shapes::RowsTaken;
use crate::http::testing::{
    self, Advance, CapturesTaken, ClockSet, ClockTold, Fault, LOG_MAX, Settled, SnapshotNamed, SnapshotTold, TestLog,
    TestToken, TokenAsked,
};

use super::operation::{Handler, Kind, Operation as O, Tag, parameter};

pub(super) fn operations() -> Vec<O> {
    let mut all = clock();
    all.extend(fixtures());
    all.extend(looks());
    all
}

fn clock() -> Vec<O> {
    const PATH: &str = "/_test/clock";
    let get = Handler::Test(|call| Box::pin(testing::clock(call)));
    let set = Handler::Test(|call| Box::pin(testing::set_clock(call)));
    let advance = Handler::Test(|call| Box::pin(testing::advance(call)));
    vec![
        O::new("getTestClock", (Method::GET, PATH), Tag::Testing, "The time, and who moves it", get)
            .answers::<ClockTold>(&[200]),
        O::new("setTestClock", (Method::PUT, PATH), Tag::Testing, "Sets the clock", set)
            .needs::<ClockSet>()
            .answers::<ClockTold>(&[200])
            .also(&[409, 503]),
        O::new(
            "advanceTestClock",
            (Method::POST, "/_test/clock/advance"),
            Tag::Testing,
            "Moves the clock on; what is due until then is done",
            advance,
        )
        .needs::<Advance>()
        .answers::<ClockTold>(&[200])
        .also(&[409, 503]),
    ]
}

fn fixtures() -> Vec<O> {
    let rows = Handler::Test(|call| Box::pin(testing::rows(call)));
    let captures = Handler::Test(|call| Box::pin(testing::captures(call)));
    let settle = Handler::Test(|call| Box::pin(testing::settle(call)));
    let snapshot = Handler::Test(|call| Box::pin(testing::snapshot(call)));
    let reset = Handler::Test(|call| Box::pin(testing::reset(call)));
    let post = |path| (Method::POST, path);
    vec![
        O::new("putTestRows", post("/_test/rows"), Tag::Testing, "Rows of the tables, applied and published", rows)
            .needs::<Rows>()
            .answers::<RowsTaken>(&[200])
            .also(&[409, 503]),
        O::new(
            "postTestCaptures",
            post("/_test/captures"),
            Tag::Testing,
            "A capture: JSON lines, one record a line",
            captures,
        )
        .answers::<CapturesTaken>(&[200])
        .also(&[408, 409, 413, 503]),
        O::new(
            "settleTest",
            post("/_test/settle"),
            Tag::Testing,
            "Everything accepted is applied and published",
            settle,
        )
        .answers::<Settled>(&[200])
        .also(&[409, 503]),
        O::new("snapshotTest", post("/_test/snapshot"), Tag::Testing, "Keeps the server as it is", snapshot)
            .needs::<SnapshotNamed>()
            .answers::<SnapshotTold>(&[200])
            .also(&[409, 503]),
        O::new("resetTest", post("/_test/reset"), Tag::Testing, "Goes back to a snapshot, or to the seed", reset)
            .reads::<SnapshotNamed>()
            .answers::<SnapshotTold>(&[200])
            .also(&[409, 503]),
    ]
}

fn looks() -> Vec<O> {
    let log = Handler::Test(|call| Box::pin(testing::log(call)));
    let fault = Handler::Test(|call| Box::pin(testing::fault(call)));
    let token = Handler::Test(|call| Box::pin(testing::token(call)));
    let what = "What happened: records with outcomes, pages with reasons";
    vec![
        O::new("getTestLog", (Method::GET, "/_test/log"), Tag::Testing, what, log)
            .query([
                parameter("since", Kind::Integer { min: 0, max: u64::MAX }, "Only later numbers."),
                parameter("limit", Kind::Integer { min: 1, max: LOG_MAX }, "How many; 1000 where it is left out."),
            ])
            .answers::<TestLog>(&[200]),
        O::new("putTestFault", (Method::POST, "/_test/fault"), Tag::Testing, "Faults; those left out end", fault)
            .needs::<Fault>()
            .answers::<ClockTold>(&[200])
            .also(&[409, 503]),
        O::new("makeTestToken", (Method::POST, "/_test/token"), Tag::Testing, "A token, good or broken", token)
            .needs::<TokenAsked>()
            .answers::<TestToken>(&[200])
            .also(&[409]),
    ]
}
