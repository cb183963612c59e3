//! Settings for how feeds and trending are kept, besides the numbers of ranking. Units are in the names.

/// Settings of feeds and trending. `config` makes the settings, and the node gets them unchanged. So three files name a
/// new member: this one, `config/fields.rs`, and the file that reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedSettings {
    /// Whether feeds fill places that no post fits, against the rules of spacing.
    pub relaxed_spacing: bool,
    /// How often trending is published, milliseconds.
    pub trending_publish_ms: u32,
}

impl Default for FeedSettings {
    fn default() -> FeedSettings {
        FeedSettings { relaxed_spacing: false, trending_publish_ms: 900 }
    }
}
