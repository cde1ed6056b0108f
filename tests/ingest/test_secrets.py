"""Where the secret of a channel may stand, and what is said if it cannot be read there."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from ingest.channels.making import secret_of
from sessions.errors import ConfigError

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
