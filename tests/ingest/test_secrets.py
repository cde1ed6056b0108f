"""Where the secret of a channel may stand, and what is said if it cannot be read there."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from sessions.errors import ConfigError
from sessions.process.config.loading import load_settings
from sessions.process.secret_sources import secret_of

WHERE = "channels.slack.home.bot_token"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text("xoxb-of-a-file\n")
    return path


def test_a_secret_stands_in_the_settings_a_variable_or_a_file(file: Path):
    assert secret_of(WHERE, SecretStr("a"), None, None, {}) == "a"
    assert secret_of(WHERE, None, "NAME", None, {"NAME": "b"}) == "b"
    assert secret_of(WHERE, None, None, file, {}) == "xoxb-of-a-file"
    assert secret_of(WHERE, None, None, None, {}) is None


def test_a_line_break_at_the_end_is_no_part_of_a_secret_and_nothing_is_none():
    assert secret_of(WHERE, None, "NAME", None, {"NAME": "b\n"}) == "b"
    with pytest.raises(ConfigError, match=f"{WHERE}_env: the variable NAME is not set"):
        secret_of(WHERE, None, "NAME", None, {"NAME": " \n"})
    with pytest.raises(ConfigError, match=f"{WHERE} is empty"):
        secret_of(WHERE, SecretStr(""), None, None, {})


def test_two_places_are_an_error(file: Path):
    with pytest.raises(ConfigError, match=rf"{WHERE}_file: set one of them"):
        secret_of(WHERE, SecretStr("a"), None, file, {})


def test_a_file_that_says_nothing_is_an_error(tmp_path: Path, file: Path):
    with pytest.raises(ConfigError, match=r"cannot read .*FileNotFoundError"):
        secret_of(WHERE, None, None, tmp_path / "none", {})
    file.write_text(" \n")
    with pytest.raises(ConfigError, match="is empty"):
        secret_of(WHERE, None, None, file, {})
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UnicodeDecodeError"):
        secret_of(WHERE, None, None, file, {})


def test_a_file_that_others_may_read_is_warned_about(file: Path, caplog: pytest.LogCaptureFixture):
    secret_of(WHERE, None, None, file, {})
    assert not caplog.records
    file.chmod(0o644)
    secret_of(WHERE, None, None, file, {})
    [record] = caplog.records
    assert f"chmod 600 {file}" in record.getMessage()
    assert "xoxb" not in record.getMessage()


def test_a_variable_s_value_may_stand_in_the_file_that_name_file_names(tmp_path: Path):
    file = tmp_path / "key"
    file.write_text("sk-1\n")
    file.chmod(0o600)
    assert secret_of(WHERE, None, "NAME", None, {"NAME_FILE": str(file)}) == "sk-1"
    assert secret_of(WHERE, None, "NAME", None, {"NAME": "own", "NAME_FILE": str(file)}) == "own"
    with pytest.raises(ConfigError, match="NAME_FILE"):
        secret_of(WHERE, None, "NAME", None, {"NAME_FILE": str(tmp_path / "none")})


def test_redis_url_is_read_of_its_file_when_it_is_asked_for(tmp_path: Path):
    file = tmp_path / "redis_url"
    settings = load_settings(None, {"TURNSTREAM_REDIS_URL_FILE": str(file)})
    with pytest.raises(ConfigError, match="redis_url_file: cannot read"):
        assert settings.redis_url
    file.write_text("redis://user:secret@redis:6379/0\n")
    file.chmod(0o600)
    assert settings.redis_url == "redis://user:secret@redis:6379/0"
    assert settings.replace(redis_url="redis://other").redis_url == "redis://other"
