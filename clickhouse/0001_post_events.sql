-- Client events, one row each. A retried insert is dropped by its token while the window remembers it, so the window
-- must be there: without it MergeTree does not deduplicate. `_nova_store` and `_nova_batch` say which batch of which
-- store a row came with.
CREATE TABLE IF NOT EXISTS post_events
(
    event_id UUID,
    event_time DateTime64(3, 'UTC'),
    user_id UUID,
    post_id UUID,
    author_id UUID,
    action LowCardinality(String),
    dwell_ms UInt32,
    device LowCardinality(String),
    app_ver LowCardinality(String),
    ingested_at DateTime64(3, 'UTC'),
    _nova_store UInt64,
    _nova_batch UInt64
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(event_time)
ORDER BY (post_id, event_time, event_id)
SETTINGS non_replicated_deduplication_window = 10000;
