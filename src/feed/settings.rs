//! Settings for how nova keeps feeds and trending. The parameters of ranking are in `state/ranking.rs`. The names of
//! the settings contain their units.

/// Settings of feeds and trending. `config` makes the settings of feeds, and the node gets them unchanged. A new member
/// of `FeedSettings` is named in three files: `feed/settings.rs`, `config/fields.rs`, and the file that reads the
/// member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedSettings {
    /// Whether feeds fill places that no post fits, against the rules of spacing.
    pub relaxed_spacing: bool,
    /// The interval at which nova publishes trending lists, in milliseconds.
    pub trending_publish_ms: u32,
}

impl Default for FeedSettings {
    fn default() -> FeedSettings {
        FeedSettings { relaxed_spacing: false, trending_publish_ms: 900 }
    }
}
