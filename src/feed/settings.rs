//! What can be set about how feeds and trending are kept, besides the numbers of ranking; the units are in the names.

/// See the module. `config` sets it and the node is given it as it is, so that a new member is named in three files: here,
/// in `config/fields.rs`, and where it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedSettings {
    /// Feeds fill places that no post fits against the rules of spacing.
    pub relaxed_spacing: bool,
    /// How often trending is published, milliseconds.
    pub trending_publish_ms: u32,
}

impl Default for FeedSettings {
    fn default() -> FeedSettings {
        FeedSettings { relaxed_spacing: false, trending_publish_ms: 900 }
    }
}
