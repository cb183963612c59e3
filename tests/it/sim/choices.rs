//! The drawn properties of a run of the simulation.

use nova::pipeline::{Settings, TruncatePolicy};

use super::product::Style;
use crate::support::events::Rng;

/// What the product, its connector and its clocks do, in addition to the writing of rows. Each kind of behaviour is
/// drawn separately.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kinds {
    /// Whether the database is older than the connector; the connector's first snapshot then reads tables to which the
    /// product still writes.
    pub initial: bool,
    /// Whether transactions stay open, also during snapshots.
    pub open: bool,
    /// Whether there are blocking and incremental snapshots, and a new snapshot after a promotion.
    pub snapshots: bool,
    /// Whether the clocks of the server and of the connector are set back and forth.
    pub clocks: bool,
    /// Whether Kafka's timestamps come from a producer whose clock is days or years ahead.
    pub stamps: bool,
    /// Whether there are rows of tables that nova does not follow, deletes without a key, and rows without a required
    /// column.
    pub strangers: bool,
    /// Whether updates leave out unchanged columns.
    pub left_out: bool,
    /// Whether a change of a primary key leaves out values that are stored out of line.
    pub renamed: bool,
    /// Whether the column that nova does not know has values of its own. Some of these values are stored out of line.
    pub unknown_values: bool,
    /// Whether a row moves to a different partition when a column changes, because of `message.key.columns`.
    pub moving: bool,
    /// Whether a producer writes its last messages twice.
    pub produced_again: bool,
    /// Whether one run has both a truncate and LSNs that begin again, even if some partitions are behind the rest.
    pub upset_twice: bool,
    /// Whether a proxy holds inserts back, including inserts into tables that refuse rows.
    pub held_pieces: bool,
}

impl Kinds {
    fn drawn(rng: &mut Rng, style: Style) -> Kinds {
        let mut draw = || rng.below(2) == 0;
        let kinds = Kinds {
            initial: draw(),
            open: draw(),
            snapshots: draw(),
            clocks: draw(),
            stamps: draw(),
            strangers: draw(),
            left_out: draw(),
            renamed: draw(),
            unknown_values: draw(),
            moving: draw() && draw(),
            produced_again: draw(),
            upset_twice: draw(),
            held_pieces: draw(),
        };
        // If deletes carry no LSN, a delete and an insert in two partitions have no order.
        let moving = kinds.moving && style.numbered();
        // If an open transaction moves a row while a snapshot reads the row, the old partition gets the snapshot's
        // record after the new partition got the insert.
        let open = kinds.open && !(moving && (kinds.initial || kinds.snapshots));
        // If a version from a different partition comes late and has a later time, either the log began again or a
        // clock was set back. nova cannot tell the two cases apart, so the table halts.
        let clocks = kinds.clocks && !moving;
        Kinds { moving, open, clocks, ..kinds }
    }
}

/// The drawn properties of a run.
#[derive(Clone, Debug)]
pub struct Choices {
    pub settings: Settings,
    pub style: Style,
    pub kinds: Kinds,
    /// Whether client events come over the local log instead of Kafka.
    pub with_log: bool,
    /// Whether a constraint of `post_events` refuses some of the events.
    pub poison_rows: bool,
    /// How long ClickHouse remembers deduplication tokens, in milliseconds. `slowest_ms` is the longest time for which
    /// an insert keeps running after its client has stopped waiting.
    pub window_ms: usize,
    pub slowest_ms: u64,
    /// The number of partitions of each table's topic, and of the topic of client events.
    pub partitions: [u64; 6],
}

impl Choices {
    /// Returns a world without special properties, in which ClickHouse remembers tokens for an hour.
    pub fn plain() -> Choices {
        Choices {
            settings: Settings::default(),
            style: Style::Envelope,
            kinds: Kinds::default(),
            with_log: false,
            poison_rows: false,
            window_ms: 3_600_000,
            slowest_ms: 3_600_000 * 3,
            partitions: [1; 6],
        }
    }

    pub fn drawn(seed: u64) -> Choices {
        let mut rng = Rng(seed);
        let mut choices = Choices::plain();
        let settings = &mut choices.settings;
        settings.checkpoint_min_bytes = 500 << rng.below(10);
        settings.checkpoint_max_bytes = 1 << 20;
        // The size of slices is computed directly from the seed, and not drawn from the generator, because an
        // additional draw would change all later draws of every seed.
        settings.checkpoint_slice_bytes = 200 << (seed % 13);
        settings.truncate = [TruncatePolicy::Apply, TruncatePolicy::Quarantine][rng.below(2) as usize];
        if rng.below(4) == 0 {
            settings.outbox_max_bytes = 4_000 << rng.below(5);
        }
        if rng.below(3) == 0 {
            choices.window_ms = usize::MAX;
        }
        choices.slowest_ms = 1 << (10 + rng.below(14));
        choices.poison_rows = rng.below(3) == 0;
        // The style with Debezium's envelope is drawn more often than any other style.
        choices.style = Style::ALL[rng.below(6).saturating_sub(2) as usize];
        choices.with_log = rng.below(3) == 0;
        if rng.below(4) > 0 {
            choices.partitions = [(); 6].map(|()| 1 + rng.below(3));
        }
        choices.kinds = Kinds::drawn(&mut rng, choices.style);
        choices
    }
}
