"""The token file: who is in it, who may read it, and what becomes of it when it is damaged."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sessions.access.tokens import (
    Principal,
    TokenFile,
    TokenScope,
    create_token,
    ensure_admin_token,
    list_tokens,
    revoke_token,
)
from sessions.errors import ConfigError


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


@pytest.mark.parametrize(
    ("scope", "agent"),
    [
        (TokenScope.ADMIN, "anna"),
        (TokenScope.METRICS, "anna"),
        (TokenScope.SERVE, "anna"),
        (TokenScope.READ, None),
        (TokenScope.SEND, None),
    ],
)
def test_a_token_is_an_agents_or_an_administrators(
    workspace: Path, scope: TokenScope, agent: str | None
):
    with pytest.raises(ConfigError, match="a token is either an agent's"):
        create_token(workspace, scope=scope, agent=agent)

    assert list_tokens(workspace) == ()


@pytest.mark.parametrize(
    ("scope", "held"),
    [
        (TokenScope.READ, {"read"}),
        (TokenScope.SEND, {"read", "send"}),
        (TokenScope.ADMIN, {"read", "send", "admin", "metrics", "serve"}),
        (TokenScope.METRICS, {"metrics"}),
        (TokenScope.SERVE, {"serve"}),
    ],
)
def test_read_send_and_admin_nest_and_the_services_have_only_their_own(
    scope: TokenScope, held: set[str]
):
    assert {other.value for other in TokenScope if scope.includes(other)} == held


@pytest.mark.parametrize(
    ("caller", "narrowed"),
    [
        (Principal(None, TokenScope.ADMIN), Principal("anna", TokenScope.SEND)),
        (Principal(None, TokenScope.SERVE), Principal("anna", TokenScope.SEND)),
        (Principal("anna", TokenScope.READ), Principal("anna", TokenScope.READ)),
        (Principal(None, TokenScope.METRICS), None),
        (Principal("bert", TokenScope.SEND), None),
    ],
)
def test_only_who_may_act_for_an_agent_is_narrowed_to_it(
    caller: Principal, narrowed: Principal | None
):
    assert caller.narrowed("anna") == narrowed


def test_only_the_owner_can_read_the_files(workspace: Path):
    before = os.umask(0)
    try:
        ensure_admin_token(workspace)
    finally:
        os.umask(before)

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
    with pytest.raises(ConfigError, match="fix or remove"):
        create_token(workspace, scope=TokenScope.ADMIN)
    assert path.read_text() == content


class TestTheAdministratorsToken:
    async def test_it_is_made_once(self, workspace: Path):
        token = ensure_admin_token(workspace)

        assert ensure_admin_token(workspace) == token
        assert len(list_tokens(workspace)) == 1
        assert (workspace / "token").read_text() == f"{token}\n"
        assert await TokenFile(workspace).verify(token) == Principal(None, TokenScope.ADMIN)

    async def test_several_that_need_it_at_once_get_the_same(self, workspace: Path):
        start = threading.Barrier(8)

        def ensure(_: int) -> str:
            start.wait()
            return ensure_admin_token(workspace)

        with ThreadPoolExecutor(8) as pool:
            tokens = {*pool.map(ensure, range(8))}

        assert tokens == {(workspace / "token").read_text().strip()}
        assert len(list_tokens(workspace)) == 1

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
