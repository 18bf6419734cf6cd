-- What people say a label of a mention should be: one row a label, the highest version stays. `value` is as
-- the event has it in JSON, less the quotes of a string; '' takes the correction back.
-- In a table of its own, so that it wins whatever is replayed, edited or labelled anew, and also when it
-- comes before the mention.
CREATE TABLE IF NOT EXISTS corrections
(
    id UUID,
    label LowCardinality(String),
    value String,
    by String,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (id, label)
SETTINGS non_replicated_deduplication_window = 1000;
-- The mentions as everything counts and shows them: once each, with the corrections. A person gives a
-- direction, not a strength: a corrected sentiment that differs from the model's scores -0.5, 0 or 0.5.
CREATE VIEW IF NOT EXISTS labelled_mentions AS
SELECT
    m.* REPLACE (
        if(c.sentiment = '', m.sentiment_label, toLowCardinality(c.sentiment)) AS sentiment_label,
        toFloat32(if(
            c.sentiment IN ('', m.sentiment_label), m.sentiment,
            multiIf(c.sentiment = 'negative', -0.5, c.sentiment = 'positive', 0.5, 0)
        )) AS sentiment,
        toFloat32(if(c.sentiment = '', m.confidence, 1)) AS confidence,
        m.sentiment_unsure AND c.sentiment = '' AS sentiment_unsure,
        if(c.fail = '', m.is_fail, c.fail = 'true') AS is_fail,
        if(c.question = '', m.is_question, c.question = 'true') AS is_question,
        if(c.stage = '', m.stage, toLowCardinality(c.stage)) AS stage,
        if(c.author_kind = '', m.author_kind, toLowCardinality(c.author_kind)) AS author_kind,
        if(c.language = '', m.language, toLowCardinality(c.language)) AS language,
        if(c.topics = '', m.topics, JSONExtract(c.topics, 'Array(LowCardinality(String))')) AS topics
    ),
    c.corrected
FROM mentions AS m FINAL
GLOBAL LEFT JOIN
(
    SELECT
        id,
        anyIf(value, label = 'sentiment') AS sentiment,
        anyIf(value, label = 'fail') AS fail,
        anyIf(value, label = 'question') AS question,
        anyIf(value, label = 'stage') AS stage,
        anyIf(value, label = 'author_kind') AS author_kind,
        anyIf(value, label = 'language') AS language,
        anyIf(value, label = 'topics') AS topics,
        groupArray(label) AS corrected
    FROM corrections FINAL
    WHERE value != ''
    GROUP BY id
) AS c ON c.id = m.id;
