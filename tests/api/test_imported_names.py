"""A session of which ZeroClaw kept only the sanitised name is found by the name that it had."""

from __future__ import annotations

from typing import cast

import pytest

from sessions.store.backend import Transferable
from sessions.store.engine.imported import ImportedMessage, ImportedSession
from sessions.store.engine.receipts import Receipt
from tests.api.running_api import RunningApi, path_of


async def _imported(running_api: RunningApi, key: str, agent: str | None = None) -> None:
    session = ImportedSession(key, None, agent, None, None, None, "idle", None, None, 1, 1)
    message = ImportedMessage(key, f"{key}:1", "user", "from a file", 1)
    receipt = Receipt(f"{key}.jsonl", key, "jsonl", "", 0, 0, 0, 1, "")
    await cast("Transferable", running_api.leading.backend).bring_in(
        [session], [message], [receipt]
    )


@pytest.mark.parametrize(
    ("key", "asked"), [("gw_a_b", "a.b"), ("gw_a_b", "gw_a.b"), ("slack_C1_x_y", "slack_C1_x.y")]
)
async def test_an_imported_session_is_found_by_its_unsanitised_name(
    running_api: RunningApi, key: str, asked: str
) -> None:
    await _imported(running_api, key)
    assert await running_api.contents(asked) == ["from a file"]


async def test_the_session_of_exactly_that_key_goes_first(running_api: RunningApi) -> None:
    await _imported(running_api, "gw_a_b")
    await running_api.say("gw_a.b", "exactly this one")
    assert await running_api.contents("a.b") == ["exactly this one"]


async def test_a_session_that_was_not_imported_is_not_found_by_a_similar_name(
    running_api: RunningApi,
) -> None:
    await running_api.say("gw_a_b", "somebody else's")
    assert "somebody" not in (await running_api.get(path_of("a.b", "messages"))).text
    assert not (await running_api.answer("sessions_send", {"session_id": "a.b", "message": "x"}))[
        "success"
    ]


async def test_an_agent_finds_only_what_it_may_see(running_api: RunningApi) -> None:
    await _imported(running_api, "gw_a_b", agent="bert")
    answer = await running_api.answer("sessions_history", {"session_id": "a.b"}, who="anna")
    assert "from a file" not in str(answer)
