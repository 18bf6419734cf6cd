"""Where the commands that look into a running Klankbord find it."""

import json
import os
from pathlib import Path

from shared.settings import Settings, load_settings

ADDRESSES = Path(".klankbord/addresses.json")


def running_settings() -> Settings:
    """Return the settings; what the environment leaves open is that of a running `klankbord up` here."""
    settings = load_settings()
    if not ADDRESSES.exists():
        return settings
    addresses = json.loads(ADDRESSES.read_text())
    found = {
        name: addresses[name]
        for name in ("kafka_bootstrap_servers", "clickhouse_url", "config_file")
        if name in addresses and f"KLANKBORD_{name.upper()}" not in os.environ
    }
    if "config_file" in found:
        found["config_file"] = Path(found["config_file"])
    return settings.model_copy(update=found)
