-- Who speaks (posts of the employer itself never count as mentions of the public) and whether the sentiment
-- was called neutral only because nothing else was sure enough. '' and false: stored before they were.
ALTER TABLE mentions
    ADD COLUMN IF NOT EXISTS author_kind LowCardinality(String) AFTER stage,
    ADD COLUMN IF NOT EXISTS sentiment_unsure Bool AFTER confidence;
ALTER TABLE mentions_hourly ADD COLUMN IF NOT EXISTS unsure UInt64 AFTER sentiment_sum;
