"""Settings come from the environment or from secret files; mistakes are named, secrets are not shown."""

from pathlib import Path

import pytest

from shared.errors import ConfigError
from shared.settings import load_settings


def test_the_environment_wins_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLANKBORD_API_PORT", "9999")
    assert load_settings().api_port == 9999


def test_a_secret_comes_from_a_file_and_is_never_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "klankbord_clickhouse_password").write_text("hunter2")
    monkeypatch.setenv("KLANKBORD_SECRETS_DIR", str(tmp_path))
    settings = load_settings()
    assert settings.clickhouse_password.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(settings)


def test_every_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLANKBORD_API_PORT", "none")
    monkeypatch.setenv("KLANKBORD_SINK_MAX_ROWS", "0")
    with pytest.raises(ConfigError, match="KLANKBORD_API_PORT .*KLANKBORD_SINK_MAX_ROWS"):
        load_settings()
