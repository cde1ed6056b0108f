"""The token file: who is in it, who may read it, and what becomes of it when it is damaged."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from sessions.errors import ConfigError
from sessions.tokens import (
    Principal,
    TokenFile,
    TokenScope,
    create_token,
    ensure_admin_token,
    list_tokens,
    revoke_token,
)


def mode(path: Path) -> int:
    """The permissions of a file."""
    return path.stat().st_mode & 0o777


async def test_a_token_is_known_by_its_hash(workspace: Path):
    token, _ = create_token(workspace, scope=TokenScope.READ, agent="anna")

    assert token.startswith("ts_")
    assert await TokenFile(workspace).verify(token) == Principal("anna", TokenScope.READ)
    assert await TokenFile(workspace).verify(token + "0") is None
    assert await TokenFile(workspace).verify("") is None


async def test_without_a_file_nobody_is_known(workspace: Path):
    assert await TokenFile(workspace).verify("ts_x") is None
    assert list_tokens(workspace) == ()


async def test_changes_are_seen_at_the_next_call(workspace: Path):
    verifier = TokenFile(workspace)
    first, entry = create_token(workspace, scope=TokenScope.ADMIN)
    assert await verifier.verify(first)

    second, _ = create_token(workspace, scope=TokenScope.ADMIN)
    assert await verifier.verify(second)

    assert revoke_token(workspace, entry.id)
    assert await verifier.verify(first) is None
    assert await verifier.verify(second)
    assert not revoke_token(workspace, entry.id)


@pytest.mark.parametrize(("scope", "agent"), [(TokenScope.ADMIN, "anna"), (TokenScope.READ, None)])
def test_a_token_is_an_agents_or_an_administrators(
    workspace: Path, scope: TokenScope, agent: str | None
):
    with pytest.raises(ConfigError, match="a token is either an agent's"):
        create_token(workspace, scope=scope, agent=agent)

    assert list_tokens(workspace) == ()


def test_scopes_nest():
    sender = Principal("anna", TokenScope.SEND)

    assert sender.may(TokenScope.READ)
    assert sender.may(TokenScope.SEND)
    assert not sender.may(TokenScope.ADMIN)


def test_only_the_owner_can_read_the_files(workspace: Path):
    os.umask(os.umask(0o022) & 0)
    ensure_admin_token(workspace)

    assert mode(workspace / "tokens.json") == 0o600
    assert mode(workspace / "token") == 0o600
    assert mode(workspace) == 0o700


def test_tokens_made_at_the_same_time_are_all_kept(workspace: Path):
    makers = [
        threading.Thread(target=create_token, args=(workspace,), kwargs={"scope": TokenScope.ADMIN})
        for _ in range(10)
    ]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()

    assert len({entry.id for entry in list_tokens(workspace)}) == 10
    assert {path.name for path in workspace.iterdir()} == {"tokens.json", "tokens.lock"}


@pytest.mark.parametrize("content", ["", "{", '{"tokens": 1}', '{"tokens": [{"id": "x"}]}'])
async def test_a_damaged_file_lets_nobody_in_and_is_not_overwritten(
    workspace: Path, content: str, caplog: pytest.LogCaptureFixture
):
    token, _ = create_token(workspace, scope=TokenScope.ADMIN)
    path = workspace / "tokens.json"
    path.write_text(content)

    assert await TokenFile(workspace).verify(token) is None
    assert "every token is refused" in caplog.text
    with pytest.raises(ConfigError, match="mend or remove"):
        create_token(workspace, scope=TokenScope.ADMIN)
    assert path.read_text() == content


class TestTheAdministratorsToken:
    async def test_it_is_made_once(self, workspace: Path):
        token = ensure_admin_token(workspace)

        assert ensure_admin_token(workspace) == token
        assert len(list_tokens(workspace)) == 1
        assert (workspace / "token").read_text() == f"{token}\n"
        assert await TokenFile(workspace).verify(token) == Principal(None, TokenScope.ADMIN)

    async def test_a_revoked_one_is_replaced_and_not_revived(self, workspace: Path):
        old = ensure_admin_token(workspace)
        [entry] = list_tokens(workspace)
        revoke_token(workspace, entry.id)

        new = ensure_admin_token(workspace)

        assert new != old
        assert await TokenFile(workspace).verify(old) is None
        assert await TokenFile(workspace).verify(new)

    async def test_an_agents_token_in_its_place_is_replaced(self, workspace: Path):
        token, _ = create_token(workspace, scope=TokenScope.SEND, agent="anna")
        (workspace / "token").write_text(token)

        assert ensure_admin_token(workspace) != token
