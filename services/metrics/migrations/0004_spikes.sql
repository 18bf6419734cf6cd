-- One row a spike, whatever is replayed: it is written again when it grows and when it is over, and the highest
-- version stays. `event` is the event on the topic `spikes`, whole; the other columns are for finding it.
CREATE TABLE IF NOT EXISTS spikes
(
    id UUID,
    version UInt64,
    brand LowCardinality(String),
    source LowCardinality(String),
    kind LowCardinality(String),
    severity LowCardinality(String),
    stage LowCardinality(String),
    raised_at DateTime64(3, 'UTC'),
    ended_at Nullable(DateTime64(3, 'UTC')),
    event String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY id
SETTINGS non_replicated_deduplication_window = 1000;
