//! Dead letters in a real store that the job retries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use nova::app::{self, Setup};
use nova::decode::{SchemaLookup, Schemas};
use nova::event::Table;
use nova::pipeline::{TruncatePolicy, dead};
use nova_storage::testing::Recorder;

use super::super::support::{self, Listed, capture, dump, run, store_over};
use super::{start, status, stop, until};

const UNKNOWN: u8 = 0;
const AWAY: u8 = 1;
const KNOWN: u8 = 2;

/// A schema registry that does not know its schemas at first.
struct Late {
    schemas: Arc<dyn Schemas>,
    state: AtomicU8,
    asked: AtomicUsize,
}

impl Schemas for Late {
    fn schema(&self, id: u32) -> SchemaLookup {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match self.state.load(Ordering::SeqCst) {
            KNOWN => self.schemas.schema(id),
            AWAY => SchemaLookup::Unavailable("no answer".to_owned()),
            _ => SchemaLookup::Unknown,
        }
    }
}

#[test]
fn records_of_a_schema_that_came_late_are_applied_by_themselves_and_poison_stays() {
    const NAME: &str = "envelope-avro.jsonl";
    let (dir, mut setup) = (tempfile::tempdir().unwrap(), support::setup(NAME));
    setup.settings.truncate = TruncatePolicy::Apply;
    let backend = Recorder::new();
    run(&setup, store_over(backend.clone()), capture(NAME));
    let expected = dump(&app::open_store(&setup, store_over(backend.image(backend.syncs(), 0))).unwrap());

    let (state, asked) = (AtomicU8::new(UNKNOWN), AtomicUsize::new(0));
    let late = Arc::new(Late { schemas: Arc::clone(&setup.schemas), state, asked });
    let setup = Setup { data_dir: dir.path().to_owned(), schemas: Arc::clone(&late) as _, ..setup };
    // If the schema of a record of `users` is unknown, nova makes no dead letter, because it must first find the
    // private columns. The partitions of `users` wait while the registry is unreachable.
    let mut records = capture(NAME);
    records.retain(|record| !record.topic.ends_with("users"));
    let poison = records.iter_mut().find(|record| record.value.is_some()).unwrap();
    poison.value = Some(bytes::Bytes::from_static(b"\x07 no magic byte"));
    let poisoned = (poison.topic.to_string(), poison.offset);
    let running = app::open(&setup).unwrap().start(Box::new(Listed::new(records, 100)), &setup).unwrap();
    running.finish(|_| {}).unwrap();
    let letters = |store: &nova_storage::Store| dead::page(&store.read().unwrap(), None, 1_000).unwrap();
    let (all, died_ms) = (letters(&app::open(&setup).unwrap().store).len() as u64, setup.clock.now_ms());
    assert!(all > 20);

    // At first, no dead letter is due for a retry. Later the letters are due, but the registry is unreachable, and no
    // attempt is counted.
    late.state.store(AWAY, Ordering::SeqCst);
    late.asked.store(0, Ordering::SeqCst);
    let node = start(&setup);
    until("the first look", || (status(&node, "dlq_retry").ended[0] > 0).then_some(()));
    assert_eq!(late.asked.load(Ordering::SeqCst), 0);
    assert_eq!(node.edge.watch.observed.dead_letters.get(), all as i64, "told before the first commit");
    stop(node);
    setup.clock.set(died_ms + 60_000);
    let node = start(&setup);
    until("a look", || (status(&node, "dlq_retry").ended[0] > 0).then_some(()));
    assert_eq!(node.edge.watch.retries.waiting.load(Ordering::Relaxed), all - 1);
    assert!(letters(&node.running.store).iter().all(|(_, letter)| letter.attempts == 1));
    stop(node);

    late.state.store(KNOWN, Ordering::SeqCst);
    let node = start(&setup);
    until("healed", || (node.edge.watch.retries.healed.load(Ordering::Relaxed) == all - 1).then_some(()));
    stop(node);
    let opened = app::open(&setup).unwrap();
    let left = letters(&opened.store);
    let left: Vec<_> = left.iter().map(|(_, letter)| (letter.topic.clone(), letter.offset)).collect();
    assert_eq!(left, [poisoned], "only what no schema heals");
    // The poisoned record was a change of a row, so nova may have an older version of this row.
    let (found, lines) = (dump(&opened).concat(), expected.concat());
    let lacking = lines.iter().filter(|line| !found.contains(line)).count();
    let users = expected[Table::Users as usize].len();
    assert!(lacking <= 1 + users, "{lacking} of {} rows", lines.len());
}
