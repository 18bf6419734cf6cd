-- The rollup. Never added to: an hour of a brand that changed is counted anew from `mentions` and replaces
-- what stood there, so that replays and edits cannot count twice. Groups that vanished are written as zeros.
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
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYear(hour)
ORDER BY (brand, hour, source, language, stage)
SETTINGS non_replicated_deduplication_window = 1000;
