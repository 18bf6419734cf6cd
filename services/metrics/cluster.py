"""The migrations, written for a ClickHouse cluster (docs/decisions/0008-clickhouse-cluster.md). Pure.

A migration is written once, for one server. Here each of its statements becomes what does the same on a
cluster: a table `x` becomes `x_local`, replicated, on every server, and `x` itself a Distributed table over
them, so that whoever reads or writes `x` need not know. Rows that replace each other lie on one shard.
"""

import re

from shared.errors import ConfigError

_NAME = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
_CREATE_TABLE = re.compile(
    r"CREATE TABLE IF NOT EXISTS (?P<name>\w+)\s*(?P<columns>\(.*\))\s*"
    r"ENGINE = (?P<engine>\w*MergeTree)(?:\((?P<arguments>[^)]*)\))?(?P<rest>\s.*)",
    re.DOTALL,
)
_ORDER_BY = re.compile(
    r"\bORDER BY\s+(?P<key>.+?)\s*(?=\b(?:PARTITION BY|TTL|SAMPLE BY|SETTINGS)\b|\Z)", re.DOTALL
)
_ALTER_TABLE = re.compile(r"ALTER TABLE (?P<name>\w+)\s+(?P<commands>.*)", re.DOTALL)
_DROP_TABLE = re.compile(r"DROP TABLE IF EXISTS (?P<name>\w+)")
_CREATE_VIEW = re.compile(r"(?P<head>CREATE VIEW IF NOT EXISTS \w+)(?P<rest>\s+AS\s.*)", re.DOTALL)
_INSERT = re.compile(r"INSERT INTO \w+\b.*\bSELECT\b.*", re.DOTALL)
_COLUMN_COMMAND = re.compile(r"(?:ADD|DROP|MODIFY|RENAME|COMMENT) COLUMN\b")
# What stands between quotes or brackets, however deep; commas in there do not separate commands.
_OPENING, _CLOSING, _QUOTES = "([{", ")]}", "'`\""


def on_cluster(cluster: str) -> str:
    """Return the clause that makes a statement run on every server of `cluster`.

    Raises ConfigError when that cannot be a cluster's name.
    """
    if _NAME.fullmatch(cluster) is None:
        raise ConfigError(
            f"{cluster!r} cannot be the name of a ClickHouse cluster; "
            "SELECT cluster FROM system.clusters lists those there are"
        )
    return f"ON CLUSTER `{cluster}`"


def for_cluster(statement: str, cluster: str) -> list[str]:
    """Return what does on `cluster` what `statement`, of a migration, does on one server.

    Raises ConfigError on a statement of another kind than those below.
    """
    clause = on_cluster(cluster)
    if match := _CREATE_TABLE.fullmatch(statement):
        return _create_table(match, cluster)
    if match := _ALTER_TABLE.fullmatch(statement):
        return _alter_table(match, clause)
    if match := _DROP_TABLE.fullmatch(statement):
        return [
            f"DROP TABLE IF EXISTS {name} {clause} SYNC" for name in (match["name"], f"{match['name']}_local")
        ]
    if match := _CREATE_VIEW.fullmatch(statement):
        return [f"{match['head']} {clause}{match['rest']}"]
    if _INSERT.fullmatch(statement):
        # It reads and writes Distributed tables, which do the rest.
        return [statement]
    first_line = statement.splitlines()[0]
    raise ConfigError(
        f"services/metrics/cluster.py does not know what this is on a cluster: {first_line!r}. "
        "Write the migration in statements that it knows, or teach it this one"
    )


def on_every_server(statement: str, cluster: str) -> str:
    """Return `statement`, a CREATE TABLE, for a small table of which every server holds all rows."""
    match = _CREATE_TABLE.fullmatch(statement.strip())
    if match is None:
        raise ValueError(f"not a CREATE TABLE IF NOT EXISTS: {statement}")
    path = f"/clickhouse/{cluster}/tables/{{database}}/{{table}}"
    return _replicated(match, match["name"], cluster, path, "{shard}-{replica}")


def sharding_key(order_by: str) -> str:
    """Return the expression that chooses the shard of a row of a table with this sort key.

    Rows that replace each other have the same sort key, so what only depends on it keeps them together.
    Of a key with a brand or a mention's id those two decide: a mention's row and its places
    (mention_positions) then share a shard. Any other key decides as a whole.
    """
    names = re.findall(r"\w+", order_by)
    chosen = [name for name in ("brand", "id") if name in names]
    whole = order_by.removeprefix("(").removesuffix(")") if order_by.startswith("(") else order_by
    return f"cityHash64({', '.join(chosen) or whole})"


def _create_table(match: re.Match[str], cluster: str) -> list[str]:
    name, local = match["name"], f"{match['name']}_local"
    order = _ORDER_BY.search(match["rest"])
    if order is None:
        raise ConfigError(f"the table {name} has no ORDER BY, so there is no telling how to shard it")
    # The path says which table it is, not when it was made (as {uuid} would): a server that joins later
    # finds its peers there.
    path = f"/clickhouse/{cluster}/tables/{{shard}}/{{database}}/{{table}}"
    return [
        _replicated(match, local, cluster, path, "{replica}"),
        f"CREATE TABLE IF NOT EXISTS {name} {on_cluster(cluster)} AS {local}\n"
        f"ENGINE = Distributed(`{cluster}`, currentDatabase(), {local}, {sharding_key(order['key'])})",
    ]


def _replicated(match: re.Match[str], name: str, cluster: str, path: str, replica: str) -> str:
    arguments = [f"'{path}'", f"'{replica}'", *([match["arguments"]] if match["arguments"] else [])]
    rest = match["rest"].replace("non_replicated_deduplication_window", "replicated_deduplication_window")
    return (
        f"CREATE TABLE IF NOT EXISTS {name} {on_cluster(cluster)}\n{match['columns']}\n"
        f"ENGINE = Replicated{match['engine']}({', '.join(arguments)}){rest}"
    )


def _alter_table(match: re.Match[str], clause: str) -> list[str]:
    """Alter the local tables, and the Distributed one too where it is about columns."""
    name, commands = match["name"], match["commands"]
    about_columns = [_COLUMN_COMMAND.match(command) is not None for command in _split(commands)]
    if len(set(about_columns)) > 1:
        raise ConfigError(f"ALTER TABLE {name}: put what is about columns in a statement of its own")
    names = (f"{name}_local", name) if about_columns[0] else (f"{name}_local",)
    return [f"ALTER TABLE {each} {clause} {commands}" for each in names]


def _split(commands: str) -> list[str]:
    """Split at the commas that separate commands."""
    parts, depth, quote = [""], 0, ""
    for character in commands:
        if quote:
            quote = "" if character == quote else quote
        elif character in _QUOTES:
            quote = character
        else:
            depth += (character in _OPENING) - (character in _CLOSING)
        if character == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]
