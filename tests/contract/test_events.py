"""Events recorded from every schema version are still read, and come out unchanged.

The files in recorded/ are frozen: a new version gets new files, made by the producer of that version.
"""

import json
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from shared.topics import TOPICS, Topic

RECORDED = Path(__file__).parent / "recorded"
EXAMPLES = [
    pytest.param(topic, version, line, id=f"{topic}-v{version}-{number}")
    for topic, spec in TOPICS.items()
    if spec.schema is not None
    for version in range(1, spec.schema.model_fields["schema_version"].default + 1)
    for number, line in enumerate((RECORDED / f"{topic}.v{version}.jsonl").read_text().splitlines())
]


def schema_of(topic: Topic) -> type[BaseModel]:
    schema = TOPICS[topic].schema
    assert schema is not None
    return schema


@pytest.mark.parametrize(("topic", "version", "line"), EXAMPLES)
def test_a_recorded_event_is_read_with_every_field(topic: Topic, version: int, line: str) -> None:
    recorded = json.loads(line)
    assert recorded["schema_version"] == version
    read = json.loads(schema_of(topic).model_validate_json(line).model_dump_json())
    assert {name: read[name] for name in recorded} == recorded


@pytest.mark.parametrize(("topic", "version", "line"), EXAMPLES)
def test_fields_of_a_newer_producer_are_ignored(topic: Topic, version: int, line: str) -> None:
    newer = json.dumps(json.loads(line) | {"schema_version": 99, "invented_later": {"deep": [1]}})
    read = schema_of(topic).model_validate_json(newer)
    assert "invented_later" not in read.model_dump()


def test_every_topic_with_a_schema_has_examples_of_every_version() -> None:
    assert {param.values[0] for param in EXAMPLES} == {t for t, s in TOPICS.items() if s.schema is not None}


def test_every_topic_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs/architecture.md").read_text()
    topics = page.split("## Topics")[1]
    assert set(re.findall(r"^\| `([a-z.]+)` \|", topics, re.M)) == set(Topic)
