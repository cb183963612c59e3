-- The source's rows: the latest version of each primary key wins, whatever is inserted twice or out of order, and a
-- deleted row stays as a marker. `*_current` is the table as PostgreSQL has it now.
CREATE TABLE IF NOT EXISTS users_cdc
(
    id UUID,
    username String,
    email_verified Bool,
    is_active Bool,
    created_at DateTime64(6, 'UTC'),
    updated_at DateTime64(6, 'UTC'),
    deleted_at Nullable(DateTime64(6, 'UTC')),
    _version UInt128,
    _deleted UInt8,
    _op LowCardinality(String),
    _lsn UInt64,
    _source_ts DateTime64(6, 'UTC'),
    _extra String
)
ENGINE = ReplacingMergeTree(_version, _deleted)
ORDER BY id
SETTINGS non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS posts_cdc
(
    id UUID,
    user_id UUID,
    caption Nullable(String),
    image_key String,
    image_sizes Nullable(String),
    status String,
    created_at DateTime64(6, 'UTC'),
    updated_at DateTime64(6, 'UTC'),
    soft_delete Nullable(DateTime64(6, 'UTC')),
    _version UInt128,
    _deleted UInt8,
    _op LowCardinality(String),
    _lsn UInt64,
    _source_ts DateTime64(6, 'UTC'),
    _extra String
)
ENGINE = ReplacingMergeTree(_version, _deleted)
ORDER BY id
SETTINGS non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS follows_cdc
(
    id UUID,
    follower_id UUID,
    following_id UUID,
    created_at Nullable(DateTime64(6, 'UTC')),
    _version UInt128,
    _deleted UInt8,
    _op LowCardinality(String),
    _lsn UInt64,
    _source_ts DateTime64(6, 'UTC'),
    _extra String
)
ENGINE = ReplacingMergeTree(_version, _deleted)
ORDER BY id
SETTINGS non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS comments_cdc
(
    id UUID,
    post_id UUID,
    user_id UUID,
    content String,
    parent_comment_id Nullable(UUID),
    created_at Nullable(DateTime64(6, 'UTC')),
    updated_at Nullable(DateTime64(6, 'UTC')),
    soft_delete Nullable(DateTime64(6, 'UTC')),
    _version UInt128,
    _deleted UInt8,
    _op LowCardinality(String),
    _lsn UInt64,
    _source_ts DateTime64(6, 'UTC'),
    _extra String
)
ENGINE = ReplacingMergeTree(_version, _deleted)
ORDER BY id
SETTINGS non_replicated_deduplication_window = 10000;

CREATE TABLE IF NOT EXISTS likes_cdc
(
    id UUID,
    user_id UUID,
    post_id UUID,
    created_at Nullable(DateTime64(6, 'UTC')),
    _version UInt128,
    _deleted UInt8,
    _op LowCardinality(String),
    _lsn UInt64,
    _source_ts DateTime64(6, 'UTC'),
    _extra String
)
ENGINE = ReplacingMergeTree(_version, _deleted)
ORDER BY id
SETTINGS non_replicated_deduplication_window = 10000;

CREATE VIEW IF NOT EXISTS users_current AS
SELECT id, username, email_verified, is_active, created_at, updated_at, deleted_at
FROM users_cdc FINAL WHERE _deleted = 0;

CREATE VIEW IF NOT EXISTS posts_current AS
SELECT id, user_id, caption, image_key, image_sizes, status, created_at, updated_at, soft_delete
FROM posts_cdc FINAL WHERE _deleted = 0;

CREATE VIEW IF NOT EXISTS follows_current AS
SELECT id, follower_id, following_id, created_at
FROM follows_cdc FINAL WHERE _deleted = 0;

CREATE VIEW IF NOT EXISTS comments_current AS
SELECT id, post_id, user_id, content, parent_comment_id, created_at, updated_at, soft_delete
FROM comments_cdc FINAL WHERE _deleted = 0;

CREATE VIEW IF NOT EXISTS likes_current AS
SELECT id, user_id, post_id, created_at
FROM likes_cdc FINAL WHERE _deleted = 0;
