//! What the world of a run is like.

use nova::pipeline::{Settings, TruncatePolicy};

use super::product::Style;
use crate::support::events::Rng;

/// See the module.
#[derive(Clone, Debug)]
pub struct Choices {
    pub settings: Settings,
    pub style: Style,
    /// Client events come over the local log instead of Kafka.
    pub with_log: bool,
    /// A constraint of `post_events` refuses some of them.
    pub poison_rows: bool,
    /// How long ClickHouse remembers tokens, and the longest time of an insert that nobody waits for, milliseconds.
    pub window_ms: usize,
    pub slowest_ms: u64,
    /// Of each table's topic, and of the client events'.
    pub partitions: [u64; 6],
}

impl Choices {
    /// Nothing special, tokens remembered for an hour.
    pub fn plain() -> Choices {
        Choices {
            settings: Settings::default(),
            style: Style::Envelope,
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
        settings.truncate = [TruncatePolicy::Apply, TruncatePolicy::Quarantine][rng.below(2) as usize];
        if rng.below(4) == 0 {
            settings.outbox_max_bytes = 4_000 << rng.below(5);
        }
        if rng.below(3) == 0 {
            choices.window_ms = usize::MAX;
        }
        choices.slowest_ms = 1 << (10 + rng.below(14));
        choices.poison_rows = rng.below(3) == 0;
        // The envelope more often than the others.
        choices.style = Style::ALL[rng.below(6).saturating_sub(2) as usize];
        choices.with_log = rng.below(3) == 0;
        if rng.below(4) > 0 {
            choices.partitions = [(); 6].map(|()| 1 + rng.below(3));
        }
        choices
    }
}
