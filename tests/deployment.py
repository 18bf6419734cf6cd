"""Reads what is deployed as those who deploy it do: docker-compose.yml, and manifests built by Kustomize."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from shared.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]
KNOWN_VARIABLES = frozenset(f"{PREFIX}{name.upper()}" for name in Settings.model_fields) | {
    f"{PREFIX}SECRETS_DIR"
}
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<operator>[-?])(?P<word>[^}]*))?\}")


class MissingVariable(Exception):
    """A variable without which docker compose refuses to do anything; the message is what it says."""


def compose(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return docker-compose.yml with its variables filled in. Raises MissingVariable."""
    text = (ROOT / "docker-compose.yml").read_text()
    document = interpolated(yaml.safe_load(text), environment)
    assert isinstance(document, dict)
    return document


def interpolated(value: Any, environment: Mapping[str, str]) -> Any:
    """Fill in ${NAME}, ${NAME:-default} and ${NAME:?message} in every string of `value`."""
    if isinstance(value, dict):
        return {key: interpolated(each, environment) for key, each in value.items()}
    if isinstance(value, list):
        return [interpolated(each, environment) for each in value]
    return (
        _VARIABLE.sub(lambda match: _filled(match, environment), value) if isinstance(value, str) else value
    )


def _filled(match: re.Match[str], environment: Mapping[str, str]) -> str:
    value = environment.get(match["name"], "")
    if not value and match["operator"] == "?":
        raise MissingVariable(f"{match['name']}: {match['word']}")
    return value or (match["word"] if match["operator"] == "-" else "")


def example_environment() -> dict[str, str]:
    """Return the variables that .env.example asks for, each filled in."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    return {line.removesuffix("="): f"secret of {line}" for line in lines if re.fullmatch(r"\w+=", line)}


def strings(value: Any) -> Iterator[str]:
    """Yield every string in `value`, however deep."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from strings(key)
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)
    elif isinstance(value, str):
        yield value
