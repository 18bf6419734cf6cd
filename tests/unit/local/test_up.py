import json
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from deploy.local.stack import Addresses
from deploy.local.up import SAMPLE_CONFIG, Terminal, UpOptions, config_file, run_up
from klankbord.running import running_settings
from shared.brands import load_brands
from shared.errors import ConfigError


def options(tmp_path: Path, *, sample: bool = True, config: Path | None = None) -> UpOptions:
    return UpOptions(
        data_dir=tmp_path / "data",
        api_port=None,
        ingest_port=None,
        sample=sample,
        config=config,
        host="127.0.0.1",
    )


def test_the_sample_brings_its_brands_unless_there_are_others(tmp_path: Path) -> None:
    assert config_file(options(tmp_path), tmp_path) == SAMPLE_CONFIG
    assert load_brands(SAMPLE_CONFIG).brands != ()
    own = tmp_path / "klankbord.toml"
    assert config_file(options(tmp_path, sample=False), tmp_path) == own
    own.write_text("")
    assert config_file(options(tmp_path), tmp_path) == own


def test_a_config_that_is_asked_for_wins_and_has_to_exist(tmp_path: Path) -> None:
    asked = tmp_path / "mine.toml"
    with pytest.raises(ConfigError, match=r"mine\.toml does not exist; correct --config"):
        config_file(options(tmp_path, config=asked), tmp_path)
    asked.write_text("")
    (tmp_path / "klankbord.toml").write_text("")
    assert config_file(options(tmp_path, config=asked), tmp_path) == asked


def test_a_wrong_config_is_told_before_anything_starts(tmp_path: Path) -> None:
    wrong = tmp_path / "mine.toml"
    wrong.write_text('[[brands]]\nnaam = "X"\n')
    with pytest.raises(ConfigError, match=r"mine\.toml: brands\.0\.name"):
        run_up(options(tmp_path, config=wrong))
    assert not (tmp_path / "data").exists()


def test_addresses_are_written_whole(tmp_path: Path) -> None:
    file = tmp_path / "addresses.json"
    addresses = Addresses(
        pid=os.getpid(),
        api_url="http://127.0.0.1:8080",
        ingest_url="http://127.0.0.1:8081",
        kafka_bootstrap_servers="127.0.0.1:9092",
        clickhouse_url="http://127.0.0.1:8123",
        config_file="/k/klankbord.toml",
    )
    addresses.write(file)
    assert json.loads(file.read_text()) == vars(addresses)
    assert list(tmp_path.iterdir()) == [file]


def test_what_happens_is_said_and_logged(capsys: pytest.CaptureFixture[str]) -> None:
    with capture_logs() as logged, Terminal.open() as terminal:
        terminal.status("starting [Kafka]")
        terminal.report("kafka is ready", process="kafka", seconds=1.5)
        terminal.show("see [here]")
        terminal.status("")
    assert capsys.readouterr().out == "starting [Kafka] ...\nkafka is ready (1.5 s)\nsee [here]\n"
    assert logged == [{"event": "kafka is ready", "log_level": "info", "process": "kafka", "seconds": 1.5}]


def test_commands_look_where_the_running_stack_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".klankbord").mkdir()
    (tmp_path / ".klankbord/addresses.json").write_text(
        json.dumps({"kafka_bootstrap_servers": "127.0.0.1:1", "clickhouse_url": "http://127.0.0.1:2",
                    "config_file": "/k/klankbord.toml"})
    )  # fmt: skip
    monkeypatch.setenv("KLANKBORD_CLICKHOUSE_URL", "http://127.0.0.1:3")
    settings = running_settings()
    assert settings.kafka_bootstrap_servers == "127.0.0.1:1"
    assert settings.clickhouse_url == "http://127.0.0.1:3"
    assert settings.config_file == Path("/k/klankbord.toml")
