"""An agent on an OpenAI-compatible endpoint, with the sessions of its other channels in reach."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi import FastAPI

import api.app
from ingest.agents.tools import SessionTools
from ingest.app import client_within, joined
from ingest.failures import FAILED
from ingest.ids import new_id
from ingest.turns.live import Ending
from sessions.access.tokens import TokenFile, TokenScope, create_token
from sessions.errors import ConfigError
from sessions.models import Event, EventType
from sessions.process.settings import Settings
from tests.ingest.model_chat import model_chat
from tests.ingest.model_server import call_piece, chunk, events, failure
from tests.leading import Leading


def last(request: dict[str, Any]) -> dict[str, Any]:
    return request["messages"][-1]


async def test_the_tools_and_what_they_said_are_stored_between_message_and_reply(
    settings: Settings, leading: Leading
):
    def script(request: dict[str, Any]) -> Any:
        return "done" if last(request)["role"] == "tool" else [("sessions_current", {})]

    async with model_chat(settings, script) as place:
        end = await place.chat("where are we?")
        stored = await place.stored()
    assert [role for role, _ in stored] == ["user", "assistant", "tool", "assistant"]
    assert json.loads(stored[1][1])["tool_calls"][0]["name"] == "sessions_current"
    assert json.loads(stored[2][1])["content"].startswith("Current session: gw_chat\n")
    assert end.reply is not None
    assert (end.reply.usage.input_tokens, end.reply.usage.output_tokens) == (14, 6)


async def test_the_next_turn_reads_the_tool_turns_of_the_last(settings: Settings, leading: Leading):
    def script(request: dict[str, Any]) -> Any:
        wants = last(request)["content"].endswith("look")
        return [("sessions_current", {})] if wants else "ok then"

    async with model_chat(settings, script) as place:
        await place.chat("look")
        await place.chat("and now?")
        roles = [message["role"] for message in place.model.requests[-1]["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]


async def test_a_model_that_only_calls_tools_is_brought_to_an_end(
    settings: Settings, leading: Leading
):
    def script(request: dict[str, Any]) -> Any:
        return [("sessions_current", {})] if "tools" in request else "enough"

    async with model_chat(settings, script) as place:
        end = await place.chat("loop")
        assert (end.text, len(place.model.requests)) == ("enough", 10)


async def test_tools_that_were_not_offered_are_not_used_in_the_last_round(
    settings: Settings, leading: Leading
):
    def script(request: dict[str, Any]) -> Any:
        calls = chunk(
            {"content": "on", "tool_calls": [call_piece("c", "sessions_list", {}, index=0)]}
        )
        return events(calls, chunk({}, finish="tool_calls"))

    async with model_chat(settings, script) as place:
        end = await place.chat("loop")
        stored = await place.stored()
        assert (end.text, len(place.model.requests)) == ("on", 10)
        assert [role for role, _ in stored] == ["user", *["assistant", "tool"] * 9, "assistant"]


async def test_a_tool_that_fails_is_told_to_the_model(settings: Settings, leading: Leading):
    def script(request: dict[str, Any]) -> Any:
        if last(request)["role"] == "tool":
            return last(request)["content"]
        return [("sessions_send", {"session_id": "nowhere", "message": "hi"})]

    async with model_chat(settings, script) as place:
        end = await place.chat("send it")
    assert end.text.startswith("Error: Session 'nowhere' not found.")


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_message_that_the_provider_cannot_take_leaves_no_trace(
    settings: Settings, leading: Leading, status: int
):
    async with model_chat(settings, lambda _: failure(status, "no")) as place:
        end = await place.chat("hello")
        assert end.ending is Ending.FAILED
        assert await place.stored() == []


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "invalid api key"),
        (403, "model not found"),
        (404, "The model `m` does not exist"),
        (501, "the model is unknown, says 412"),
        (400, "Unrecognized request argument supplied: n"),
    ],
)
async def test_any_other_failure_of_the_provider_keeps_the_message(
    settings: Settings, leading: Leading, status: int, words: str
):
    async with model_chat(settings, lambda _: failure(status, words), retries=0) as place:
        end = await place.chat("hello")
        assert end.ending is Ending.FAILED
        assert end.text.endswith(words)
        assert await place.stored() == [("user", "hello"), ("assistant", FAILED)]


async def test_a_refusal_after_tools_were_used_keeps_the_message(
    settings: Settings, leading: Leading
):
    def script(request: dict[str, Any]) -> Any:
        used = last(request)["role"] == "tool"
        return failure(400, "no") if used else [("sessions_current", {})]

    async with model_chat(settings, script) as place:
        await place.chat("hello")
        assert await place.stored() == [("user", "hello"), ("assistant", FAILED)]


async def test_a_model_that_says_nothing_has_failed(settings: Settings, leading: Leading):
    async with model_chat(settings, lambda _: "") as place:
        await place.chat("hello")
        assert await place.stored() == [("user", "hello"), ("assistant", FAILED)]


@pytest.mark.parametrize(
    ("scope", "whose", "sees"),
    [
        (TokenScope.SERVE, None, {"annas"}),
        (TokenScope.ADMIN, None, {"annas"}),
        (TokenScope.SEND, "anna", {"annas"}),
        (TokenScope.SEND, "bert", set[str]()),
    ],
)
async def test_a_process_of_its_own_gives_each_agent_its_own_sessions_with_any_token(
    settings: Settings, leading: Leading, scope: TokenScope, whose: str | None, sees: set[str]
):
    """A token of no agent narrows itself; an agent's is that agent's alone."""
    token, _ = create_token(settings.workspace, scope=scope, agent=whose)
    for owner in ("anna", "bert"):
        hello = Event(new_id(), EventType.APPEND, session=f"{owner}s", role="user", content="hi")
        await leading.publish(hello._replace(agent=owner))
    async with api.app.opened(settings) as app, client_within(app, token) as within:
        tools = SessionTools(within, agent="anna")
        offered = await tools.offered()
        said = await tools.call("annas", "sessions_list", "{}")
    assert bool(offered) == bool(sees)
    assert {key for key in ("annas", "berts") if key in said} == sees


@pytest.mark.parametrize(
    "change",
    [
        {"model": None},
        {"api_key_env": "NO_SUCH_VARIABLE"},
        {"extra_headers_env": {"X-Tenant": "NO_SUCH_VARIABLE"}},
        {"extra_headers": {"X Tenant": "a"}},
        {"extra_headers": {"X-Tenant": "a\r\nX-Other: b"}},
        {"max_tokens": 1, "max_completion_tokens": 1},
    ],
)
async def test_an_agent_that_is_half_configured_is_refused_at_the_start(
    settings: Settings, leading: Leading, change: dict[str, Any]
):
    anna = settings.agents["anna"].model_copy(update={"provider": "openai", "model": "m", **change})
    changed = settings.model_copy(update={"agents": {"anna": anna}})
    app = FastAPI()
    with pytest.raises(ConfigError, match=r"agents\.anna"):
        async with (
            client_within(app, None) as within,
            joined(app, changed, tokens=TokenFile(settings.workspace), api=within),
        ):
            pass
