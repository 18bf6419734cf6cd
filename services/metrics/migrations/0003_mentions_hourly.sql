-- The rollup. Never added to: an hour of a brand that changed is counted anew from `mentions` and replaces
-- what stood there, so that replays and edits cannot count twice. A group that vanished is replaced by a
-- deletion, so that FINAL shows it no more.
CREATE TABLE IF NOT EXISTS mentions_hourly
(
    brand LowCardinality(String),
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
    source LowCardinality(String),
    language LowCardinality(String),
    stage LowCardinality(String),
    mentions UInt64,
    fails UInt64,
    questions UInt64,
    negatives UInt64,
    positives UInt64,
    sentiment_sum Float64,
    version UInt64,
    is_deleted UInt8 DEFAULT 0
)
ENGINE = ReplacingMergeTree(version, is_deleted)
PARTITION BY toYear(hour)
ORDER BY (brand, hour, source, language, stage)
SETTINGS non_replicated_deduplication_window = 1000;
