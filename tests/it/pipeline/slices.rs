//! Checkpoints are written in slices, one slice with each commit, and the test kills the process at every slice.

use std::collections::BTreeSet;

use nova::app::{self, Opened};
use nova::pipeline::QUEUE_MAX_MESSAGES;
use nova::pipeline::ingest::{Ingest, Step};
use nova::pipeline::meta::Meta;
use nova_storage::Store;
use nova_storage::schema::{JOURNAL, STATE_CHUNK};
use nova_storage::testing::Recorder;

use crate::support::{Listed, dump, state_bytes, store_over};

use super::crash::world;

/// The state and the rows after one commit.
struct Commit {
    syncs: usize,
    state: Vec<u8>,
    rows: Vec<Vec<String>>,
}

fn seen(opened: &Opened, backend: &Recorder) -> Commit {
    Commit { syncs: backend.syncs(), state: state_bytes(opened), rows: dump(opened) }
}

/// The parts of checkpoints that a store has in addition to the last whole checkpoint.
#[derive(Debug, Default, PartialEq, Eq)]
struct Leftover {
    /// The number of chunks of a checkpoint that is not complete.
    unfinished: usize,
    /// The number of old copies of chunks; an old copy is one with a later copy in the store.
    replaced: usize,
    /// The number of journal blobs that a whole checkpoint covers.
    covered: u64,
}

fn leftover(store: &Store) -> Leftover {
    let read = store.read().unwrap();
    let Some(meta) = Meta::load(&read).unwrap() else { return Leftover::default() };
    let (mut left, mut known) = (Leftover::default(), BTreeSet::new());
    read.scan(STATE_CHUNK, ("", 0u32, 0u64).., |(structure, number, generation), _| {
        if Some(generation) > meta.generation {
            left.unfinished += 1;
        } else if !known.insert((structure.to_owned(), number)) {
            left.replaced += 1;
        }
        true
    })
    .unwrap();
    read.scan(JOURNAL, ..=meta.covered, |_, _| {
        left.covered += 1;
        true
    })
    .unwrap();
    left
}

#[test]
fn n13_every_commit_of_a_checkpoint_in_slices_recovers_what_memory_was() {
    let (mut setup, records) = world();
    setup.settings.checkpoint_slice_bytes = 3_000;
    let backend = Recorder::new();
    let mut opened = app::open_store(&setup, store_over(backend.clone())).unwrap();
    let (out, inbox) = crossbeam_channel::bounded(QUEUE_MAX_MESSAGES);
    let source = Box::new(Listed::new(records, 250));
    let mut ingest = Ingest::new(source, setup.decoder(), opened.shared.clone(), out);
    let mut commits = vec![seen(&opened, &backend)];
    while ingest.step().unwrap() != Step::Ended {
        opened.writer.process(&mut inbox.try_iter().collect()).unwrap();
        commits.push(seen(&opened, &backend));
        // A commit without records carries only slices of the checkpoint.
        opened.writer.process(&mut Vec::new()).unwrap();
        commits.push(seen(&opened, &backend));
    }
    drop(opened);
    let (mut unfinished, mut cleared) = (0, 0);
    for (number, commit) in commits.iter().enumerate() {
        // For every second commit, the disk also has some or all writes of the next commit.
        let torn = number % 2 == 1;
        let image = backend.image(commit.syncs, if torn { number as u64 } else { 0 });
        let or = commits.get(number + 1).filter(|_| torn).unwrap_or(commit);
        let store = store_over(image.clone());
        let left = leftover(&store);
        unfinished += usize::from(left.unfinished > 0);
        cleared += usize::from(left.replaced > 0 && left.covered > 0);
        let mut opened = app::open_store(&setup, store).unwrap();
        let found = (state_bytes(&opened), dump(&opened));
        let is = |commit: &Commit| (&commit.state, &commit.rows) == (&found.0, &found.1);
        assert!(is(commit) || is(or), "after commit {number}, {left:?}");
        opened.writer.checkpoint().unwrap();
        drop(opened);
        let store = store_over(image.image(image.syncs(), 0));
        assert_eq!(leftover(&store), Leftover::default(), "after commit {number}, {left:?}");
        let opened = app::open_store(&setup, store).unwrap();
        assert_eq!(opened.recovery.journal_batches, 0);
        assert_eq!((state_bytes(&opened), dump(&opened)), found, "after commit {number}, {left:?}");
    }
    assert!(unfinished > 20 && cleared > 2, "killed {unfinished} times in a checkpoint, {cleared} times behind one");
}
