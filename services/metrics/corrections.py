"""The corrections of people as training data, for `klankbord train --with-corrections`."""

import json
from collections.abc import Iterator
from typing import Any

from shared.clickhouse import answers, connect
from shared.settings import Settings

MAX_EXPORTED = 1_000_000

# Only what people said is taken for right; of the rest the model would learn its own mistakes.
_CORRECTED = f"""
SELECT m.text, m.language, m.kind, c.labels, c.said
FROM
(
    SELECT id, groupArray(label) AS labels, groupArray(value) AS said
    FROM (SELECT id, label, value FROM corrections FINAL WHERE value != '' ORDER BY id, label)
    GROUP BY id
) AS c
GLOBAL INNER JOIN (SELECT id, text, language, kind FROM mentions FINAL) AS m ON m.id = c.id
ORDER BY m.id
LIMIT {MAX_EXPORTED}
"""
_BOOLEAN = ("fail", "question")
_LANGUAGES = ("nl", "en")


def exported(settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield each corrected mention: text, lang, kind, and the labels that people gave.

    Raises DependencyUnavailable while ClickHouse does not answer.
    """
    with connect(settings) as client, answers():
        rows = client.query(_CORRECTED).result_rows
    for text, language, kind, labels, said in rows:
        values: dict[str, str] = dict(zip(labels, said, strict=True))
        lang = values.pop("language", language)
        line: dict[str, Any] = {
            "text": text,
            "lang": lang if lang in _LANGUAGES else "other",
            "kind": kind,
        }
        for label, value in values.items():
            if label in _BOOLEAN:
                line[label] = value == "true"
            else:
                line[label] = json.loads(value) if label == "topics" else value
        yield line
