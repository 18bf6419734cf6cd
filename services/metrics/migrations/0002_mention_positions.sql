-- Where each mention stands in `mentions`: how the sink finds the row that an edit of brand or time leaves
-- behind, and refuses an event that is older than what is stored. Small granules: it is read by id.
CREATE TABLE IF NOT EXISTS mention_positions
(
    id UUID,
    version UInt64,
    brand LowCardinality(String),
    published_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(version)
ORDER BY id
SETTINGS index_granularity = 512, non_replicated_deduplication_window = 1000;
