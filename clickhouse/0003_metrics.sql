-- What posts count, by minute and by hour, and what users do to authors, by day. Each is a table with a materialised
-- view that fills it from post_events. The tables have windows of their own: a retried insert reaches the views too,
-- and a target without a window would count it twice.
CREATE TABLE IF NOT EXISTS post_metrics_1m
(
    bucket DateTime('UTC'),
    post_id UUID,
    impressions UInt64,
    views UInt64,
    likes UInt64,
    comments UInt64,
    shares UInt64,
    dwell_ms UInt64
)
ENGINE = SummingMergeTree
PARTITION BY toYYYYMM(bucket)
ORDER BY (bucket, post_id)
TTL bucket + INTERVAL 35 DAY
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS post_metrics_1m_mv TO post_metrics_1m AS
SELECT
    toStartOfMinute(toDateTime(event_time, 'UTC')) AS bucket,
    post_id,
    countIf(action = 'impression') AS impressions,
    countIf(action = 'view') AS views,
    countIf(action = 'like') AS likes,
    countIf(action = 'comment') AS comments,
    countIf(action = 'share') AS shares,
    sum(toUInt64(post_events.dwell_ms)) AS dwell_ms
FROM post_events
GROUP BY bucket, post_id;

CREATE TABLE IF NOT EXISTS post_metrics_1h
(
    bucket DateTime('UTC'),
    post_id UUID,
    impressions UInt64,
    views UInt64,
    likes UInt64,
    comments UInt64,
    shares UInt64,
    dwell_ms UInt64
)
ENGINE = SummingMergeTree
PARTITION BY toYYYYMM(bucket)
ORDER BY (bucket, post_id)
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS post_metrics_1h_mv TO post_metrics_1h AS
SELECT
    toStartOfHour(toDateTime(event_time, 'UTC')) AS bucket,
    post_id,
    countIf(action = 'impression') AS impressions,
    countIf(action = 'view') AS views,
    countIf(action = 'like') AS likes,
    countIf(action = 'comment') AS comments,
    countIf(action = 'share') AS shares,
    sum(toUInt64(post_events.dwell_ms)) AS dwell_ms
FROM post_events
GROUP BY bucket, post_id;

CREATE TABLE IF NOT EXISTS user_author_90d
(
    day Date,
    user_id UUID,
    author_id UUID,
    views UInt64,
    likes UInt64,
    comments UInt64,
    shares UInt64,
    dwell_ms UInt64
)
ENGINE = SummingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (user_id, author_id, day)
TTL day + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS user_author_90d_mv TO user_author_90d AS
SELECT
    toDate(event_time, 'UTC') AS day,
    user_id,
    author_id,
    countIf(action = 'view') AS views,
    countIf(action = 'like') AS likes,
    countIf(action = 'comment') AS comments,
    countIf(action = 'share') AS shares,
    sum(toUInt64(post_events.dwell_ms)) AS dwell_ms
FROM post_events
GROUP BY day, user_id, author_id;

-- What trends by the events alone, with nova's weights times ten: SELECT * FROM trending(since = '…') LIMIT 200.
CREATE VIEW IF NOT EXISTS trending AS
SELECT
    post_id,
    sum(views) + 20 * sum(likes) + 30 * sum(comments) + 50 * sum(shares) AS score_x10,
    sum(views) AS total_views,
    sum(likes) AS total_likes,
    sum(comments) AS total_comments,
    sum(shares) AS total_shares
FROM post_metrics_1m
WHERE bucket >= {since:DateTime('UTC')}
GROUP BY post_id
ORDER BY score_x10 DESC, post_id ASC;
