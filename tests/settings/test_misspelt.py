"""A name that is nearly one of ours is not left out in silence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sessions.process.config.loading import load_configuration
from tests.cli.command import process


@pytest.mark.parametrize(
    ("text", "where", "meant"),
    [
        ('[channels]\nsesion_backend = "jsonl"', "channels.sesion_backend", "session_backend"),
        ("[channel]\ndebounce_ms = 5", "channel", "channels"),
        ("[gateway]\nports = 5", "gateway.ports", "port"),
        ('[agents.a]\nmodle = "m"', "agents.a.modle", "model"),
        (
            '[channels.telegram.home]\nbot_tokn = "1:a"',
            "channels.telegram.home.bot_tokn",
            "bot_token",
        ),
        ("[channels.telegramm.home]\nenabled = true", "channels.telegramm", "telegram"),
    ],
)
def test_the_nearest_name_is_asked_for(tmp_path: Path, text: str, where: str, meant: str) -> None:
    """In every section; the rest of the file counts."""
    path = tmp_path / "turnstream.toml"
    path.write_text(text, encoding="utf-8")
    [notice] = load_configuration(path, {}).notices
    assert notice.where == where
    assert str(notice).endswith(f"did you mean {meant}?")


def test_names_that_are_like_none_of_ours_are_left_in_peace(tmp_path: Path) -> None:
    """Other programs may read the same file."""
    path = tmp_path / "turnstream.toml"
    path.write_text("[channels]\nack_reactions = true\n[cost]\nlimit = 1", encoding="utf-8")
    assert load_configuration(path, {}).notices == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[turnstream]\nprefx = 'a'", "setting turnstream.prefx"),
        ("[turnstream]\nprefx = 'a'", "did you mean prefix?"),
        ("[agents.main]\napi_key = 'sk-secret'", "api_key_env"),
    ],
)
def test_in_our_own_section_it_is_an_error(tmp_path: Path, text: str, says: str) -> None:
    """So is a key in the file, which is not quoted."""
    tmp_path.joinpath("turnstream.toml").write_text(text, encoding="utf-8")
    refused = process("doctor", workspace=tmp_path)
    assert refused.code == os.EX_CONFIG
    assert says in refused.err
    assert "sk-secret" not in refused.err
    assert "Traceback" not in refused.err


def test_a_variable_is_told_its_name(tmp_path: Path) -> None:
    """Also one of another section."""
    environ = {**os.environ, "TURNSTREAM_SESION_BACKEND": "jsonl"}
    refused = process("status", workspace=tmp_path, environ=environ)
    assert refused.code == os.EX_CONFIG
    assert "did you mean session_backend?" in refused.err


def test_doctor_shows_it(tmp_path: Path) -> None:
    """As a warning, which does not change its exit code."""
    path = tmp_path / "turnstream.toml"
    path.write_text('[channels]\nsesion_backend = "jsonl"', encoding="utf-8")
    path.chmod(0o600)
    checks = process("doctor", "--json", workspace=tmp_path).json()["checks"]
    [found] = [check for check in checks if check["name"] == "settings"]
    assert found["verdict"] == "warning"
    assert "did you mean session_backend?" in found["text"]
