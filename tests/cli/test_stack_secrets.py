"""What a worker makes for the services of a compose stack: once, and only what is missing."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cli.supervision.stack_secrets import make_stack_secrets
from sessions.access.tokens import TokenFile, TokenScope, list_tokens, revoke_token
from sessions.errors import ConfigError
from sessions.process.settings import Settings
from sessions.stream.users import SERVICES


def made(folder: Path) -> dict[str, str]:
    """The files that were made, without locks."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {str(path.relative_to(folder)): path.read_text() for path in files}


def make(folder: Path, prefix: str = "turnstream:") -> dict[str, str]:
    settings = Settings().replace(workspace=folder / "workspace", prefix=prefix)
    asyncio.run(make_stack_secrets(folder / "secrets", settings))
    return made(folder / "secrets")


def test_a_second_start_changes_nothing(tmp_path: Path):
    first = make(tmp_path)
    assert set(first) == {
        "redis/users.acl",
        "redis/password",
        "worker/redis_url",
        "api/redis_url",
        "ingest/redis_url",
        "ingest/token",
    }
    assert make(tmp_path) == first


def test_redis_has_a_user_for_each_url_no_default_one_and_no_password(tmp_path: Path):
    found = make(tmp_path)
    users = found["redis/users.acl"]
    # Its rights are those with which Redis replays its append-only file.
    assert users.startswith("user default off resetpass ~* &* +@all\n")
    for service in SERVICES:
        url = urlsplit(found[f"{service}/redis_url"])
        password = url.password or ""
        assert url.username == f"turnstream-{service}"
        assert len(password) == 64
        assert password not in users
        digest = hashlib.sha256(password.encode()).hexdigest()
        assert f"user {url.username} on resetpass #{digest} " in users


def test_the_token_of_ingest_works_and_is_made_again_if_it_was_revoked(tmp_path: Path):
    token = make(tmp_path)["ingest/token"].strip()
    principal = asyncio.run(TokenFile(tmp_path / "workspace").verify(token))
    assert principal is not None
    assert principal.scope is TokenScope.SERVE
    [entry] = list_tokens(tmp_path / "workspace")
    revoke_token(tmp_path / "workspace", entry.id)
    assert make(tmp_path)["ingest/token"].strip() != token


def test_other_rules_are_written_under_the_same_passwords(tmp_path: Path):
    before, after = make(tmp_path), make(tmp_path, prefix="other:")
    assert "~other:turns" in after["redis/users.acl"]
    assert before["worker/redis_url"] == after["worker/redis_url"]


def test_only_redis_shares_what_is_not_its_own(tmp_path: Path):
    make(tmp_path)
    modes = {
        name: (tmp_path / "secrets" / name).stat().st_mode & 0o777
        for name in made(tmp_path / "secrets")
    }
    others = {name: mode for name, mode in modes.items() if not name.startswith("redis/")}
    assert set(others.values()) == {0o600}
    assert {modes["redis/users.acl"], modes["redis/password"]} == {0o640}


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path):
    (tmp_path / "secrets").write_text("")
    with pytest.raises(ConfigError, match=str(tmp_path / "secrets")):
        make(tmp_path)
