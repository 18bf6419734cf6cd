"""`klankbord corrections`: say what a label should be, and take what people said along as training data."""

import json
from pathlib import Path
from typing import Annotated

import typer

from klankbord.running import ADDRESSES, running_settings
from shared.errors import ConfigError, DependencyUnavailable

app = typer.Typer(help=__doc__, no_args_is_help=True)


@app.command()
def add(
    mention_id: Annotated[str, typer.Argument(metavar="ID", help="The mention's id, as the API gives it.")],
    labels: Annotated[
        list[str],
        typer.Argument(
            metavar="LABEL=VALUE...",
            help="E.g. sentiment=negative fail=true stage=silence topics=salary,culture. "
            "'LABEL=' takes a correction back.",
        ),
    ],
    by: Annotated[str, typer.Option(help="Who says so: a name or a role.")],
    ingest_url: Annotated[
        str | None,
        typer.Option(envvar="KLANKBORD_INGEST_URL", help="[default: that of the running `klankbord up`]"),
    ] = None,
) -> None:
    """Correct labels of a mention, or confirm them. It wins over the model in every count from then on."""
    import httpx

    from services.ingest.import_client import http_client
    from services.ingest.importer import found_ingest_url

    body = {"by": by, "labels": dict(_pair(text) for text in labels)}
    url = ingest_url or found_ingest_url(ADDRESSES)
    with http_client(url) as http:
        try:
            response = http.post(f"/v1/mentions/{mention_id}/corrections", json=body)
        except httpx.HTTPError as error:
            raise DependencyUnavailable("Ingest", f"{url}: {error}") from error
    if response.status_code != httpx.codes.ACCEPTED:
        raise ConfigError(_refusal(response.text))
    typer.echo(f"{response.json()['accepted']} accepted")


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="Where the JSON lines go; - is standard output.")],
) -> None:
    """Write the corrected mentions, with all that people said of them, for `train --with-corrections`."""
    from services.metrics.corrections import exported

    lines = [json.dumps(line, ensure_ascii=False) for line in exported(running_settings())]
    text = "".join(f"{line}\n" for line in lines)
    if str(file) == "-":
        typer.echo(text, nl=False)
    else:
        file.write_text(text, encoding="utf-8")
    typer.echo(f"{len(lines):,} corrected mentions", err=True)


def _pair(text: str) -> tuple[str, object]:
    label, sign, value = text.partition("=")
    if not sign:
        raise ConfigError(f"{text!r}: write LABEL=VALUE, e.g. fail=true")
    if not value:
        return label, None
    if label in {"fail", "question"}:
        return label, {"true": True, "yes": True, "false": False, "no": False}.get(value.lower(), value)
    if label == "topics":
        return label, [topic.strip() for topic in value.split(",") if topic.strip()]
    return label, value


def _refusal(text: str) -> str:
    """Return in one line what ingest says is wrong."""
    try:
        problem = json.loads(text)
        errors = [f"{one['field']}: {one['reason']}" for one in problem.get("errors", ())]
        return "; ".join(errors) or problem["detail"]
    except (ValueError, KeyError, TypeError):
        return f"ingest answered: {text[:200]}"
