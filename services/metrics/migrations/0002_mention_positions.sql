-- Every place (brand, time) in `mentions` at which a mention ever stood, with its version there. Written
-- before `mentions`, so that whoever writes a mention second sees the first and leaves a deletion at the
-- place of the lower version. Small granules: it is read by id.
CREATE TABLE IF NOT EXISTS mention_positions
(
    id UUID,
    version UInt64,
    brand LowCardinality(String),
    published_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (id, brand, published_at)
SETTINGS index_granularity = 512, non_replicated_deduplication_window = 1000;
