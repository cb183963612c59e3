use super::*;
use crate::warehouse::Wire;
use nova_storage::testing::Recorder;
use nova_storage::{Options, Store};

fn load(store: &Store) -> Outbox {
    Outbox::load(&store.read().unwrap(), 7, Arc::default()).unwrap()
}

/// Adds a row with the columns of a different build to the open batch for these columns.
fn put(outbox: &mut Outbox, columns: &Columns, row: &[u8]) -> u64 {
    let open = outbox.open(Target::Events, columns, 202_611, 0);
    open.pending.extend_from_slice(row);
    let batch = open.batch;
    outbox.pushed(Target::Events);
    batch
}

fn write(outbox: &mut Outbox, store: &Store, seal: bool) {
    let write = store.write().unwrap();
    outbox.write(&write, 0, seal).unwrap();
    write.commit().unwrap();
}

/// Before this test existed, nova delivered a batch with the columns of the build that sent the batch.
#[test]
fn a_batch_keeps_the_columns_that_it_was_begun_under_and_takes_no_rows_of_others() {
    let store = Store::open_backend(Recorder::new(), &Options::default()).unwrap();
    let older = Columns::new([("event_id", Wire::Uuid), ("gone", Wire::U8)].into_iter());
    let current = Target::Events.columns();
    let mut outbox = load(&store);
    let first = put(&mut outbox, &older, &[1; 17]);
    write(&mut outbox, &store, false);
    // After an upgrade, only rows with the batch's own columns are added to an old batch.
    let mut outbox = load(&store);
    let second = put(&mut outbox, current, &[2; 30]);
    assert_eq!(put(&mut outbox, &older, &[3; 17]), first);
    assert_eq!(put(&mut outbox, current, &[4; 30]), second);
    assert_ne!(first, second);
    write(&mut outbox, &store, true);
    let mut outbox = load(&store);
    let read = store.read().unwrap();
    let old = body(&read, Target::Events, first).unwrap();
    assert_eq!((&old.columns, old.rows.as_ref()), (&older, [[1; 17], [3; 17]].as_flattened()));
    let new = body(&read, Target::Events, second).unwrap();
    assert_eq!((&new.columns, new.rows.len()), (current, 60));
    assert_eq!(outbox.counts()[Target::Events.index()].waiting_rows, 4);
    assert!(put(&mut outbox, current, &[5; 30]) > second, "a sealed batch takes nothing");
}
