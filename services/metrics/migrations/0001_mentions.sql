-- One row a mention, whatever is replayed: of rows with the same key the highest version stays.
-- The sort key serves "this brand, this period"; a mention whose brand or time is edited moves to another
-- key, so the sink leaves a row with is_deleted = 1 at the old one (see 0002_mention_positions.sql).
CREATE TABLE IF NOT EXISTS mentions
(
    id UUID,
    version UInt64 CODEC(Delta, ZSTD(1)),
    is_deleted UInt8 DEFAULT 0,
    brand LowCardinality(String),
    published_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    received_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    source LowCardinality(String),
    external_id String CODEC(ZSTD(1)),
    kind LowCardinality(String),
    language LowCardinality(String),
    stage LowCardinality(String),
    sentiment Float32 CODEC(ZSTD(1)),
    sentiment_label LowCardinality(String),
    confidence Float32 CODEC(ZSTD(1)),
    is_fail Bool,
    is_question Bool,
    fail_terms Array(String) CODEC(ZSTD(1)),
    topics Array(LowCardinality(String)) CODEC(ZSTD(1)),
    hashtags Array(String) CODEC(ZSTD(1)),
    other_brands Array(LowCardinality(String)),
    author_name String CODEC(ZSTD(3)),
    author_handle String CODEC(ZSTD(3)),
    text String CODEC(ZSTD(3)),
    url String CODEC(ZSTD(3)),
    in_reply_to String CODEC(ZSTD(1)),
    conversation_id String CODEC(ZSTD(1)),
    rating Nullable(Float32),
    rating_scale Float32 DEFAULT 5,
    metadata String CODEC(ZSTD(3)),
    model LowCardinality(String)
)
ENGINE = ReplacingMergeTree(version, is_deleted)
PARTITION BY toYear(published_at)
ORDER BY (brand, published_at, id)
SETTINGS non_replicated_deduplication_window = 1000;
