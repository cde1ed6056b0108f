"""The OpenAPI document says what the routes answer, and no more than they answer."""

from __future__ import annotations

from typing import Any, Final

import httpx
import pytest
from jsonschema import Draft202012Validator

from api import readiness
from api.tools import TOOLS
from sessions import times
from sessions.models import Event, EventType
from sessions.process.settings import Settings
from sessions.stream.lanes.inbound import Inbound
from sessions.stream.lanes.lanes import Lanes
from sessions.stream.lanes.waking import Waking
from sessions.stream.replies.replies import Replies
from sessions.stream.replies.values import ChannelReply, ReplyText
from tests.api.running_api import RunningApi
from tests.api.test_fates import HELLO
from tests.api.test_outcomes import add

Document = dict[str, Any]
# A call of every route that succeeds, in an order in which each can. Bodies are JSON.
CALLS: Final[tuple[tuple[str, str, dict[str, str], Any], ...]] = (
    ("GET", "/healthz", {}, None),
    ("GET", "/readyz", {}, None),
    ("GET", "/metrics", {}, None),
    ("GET", "/asyncapi.json", {}, None),
    ("GET", "/api/tools", {}, None),
    ("GET", "/api/tokens/self", {}, None),
    ("GET", "/api/dead-letters", {}, None),
    ("GET", "/api/dead-letters/{letter_id}", {"letter_id": "{letter}"}, None),
    ("POST", "/api/dead-letters/{letter_id}/replay", {"letter_id": "{letter}"}, None),
    ("DELETE", "/api/dead-letters/{letter_id}", {"letter_id": "{other}"}, None),
    ("GET", "/api/outcomes/{event_id}", {"event_id": "k"}, None),
    ("GET", "/api/turns/outcome/{event_id}", {"event_id": "k"}, None),
    ("POST", "/api/turns/history", {}, {"session": "s", "agent": "anna"}),
    ("POST", "/api/turns/message", {}, {"session": "s", "agent": "anna", "id": "k"}),
    ("GET", "/api/replies", {}, None),
    ("POST", "/api/replies/{turn}/retry", {"turn": "blocked"}, None),
    ("DELETE", "/api/replies/{turn}", {"turn": "blocked"}, None),
    ("POST", "/api/turns/keys", {}, {"former": "s", "channel": "telegram.home"}),
    ("POST", "/api/turns/unanswered", {}, {"seconds": 0}),
    ("GET", "/api/sessions", {}, None),
    ("GET", "/api/sessions/running", {}, None),
    ("GET", "/api/sessions/{session_id}/messages", {"session_id": "s"}, None),
    ("POST", "/api/sessions/{session_id}/messages", {"session_id": "s"}, {"content": "x"}),
    ("GET", "/api/sessions/{session_id}/state", {"session_id": "gw_r"}, None),
    ("POST", "/api/sessions/{session_id}/abort", {"session_id": "s"}, None),
    ("GET", "/api/sessions/{session_id}/queue", {"session_id": "s"}, None),
    (
        "DELETE",
        "/api/sessions/{session_id}/queue/{message_id}",
        {"session_id": "s", "message_id": "waits"},
        None,
    ),
    ("PUT", "/api/sessions/{session_id}", {"session_id": "s"}, {"name": "x"}),
    ("GET", "/api/sessions", {}, None),
    ("PUT", "/api/sessions/{session_id}/owner", {"session_id": "s"}, {"agent": "anna"}),
    ("GET", "/api/owners", {}, None),
    ("POST", "/api/owners", {}, {"from": "anna", "to": None}),
    *[
        ("POST", "/api/tools/{name}", {"name": tool.name}, arguments)
        for tool in TOOLS
        for arguments in [
            {
                name: {"query": "hello", "message": "x", "name": "n"}.get(name, "s")
                for name in tool.schema.get("required", ())
            }
        ]
        if tool.name != "sessions_delete"
    ],
    ("DELETE", "/api/sessions/{session_id}", {"session_id": "s"}, None),
)
# Calls that are refused, one or more for each status that a caller can bring about by itself.
REFUSED: Final[tuple[tuple[int, str, str, dict[str, str], dict[str, Any]], ...]] = (
    (400, "POST", "/api/tools/{name}", {"name": "sessions_list"}, {"content": b"{"}),
    (400, "PUT", "/api/sessions/{session_id}", {"session_id": "s"}, {"json": {"name": ""}}),
    (400, "GET", "/api/sessions/{session_id}/state", {"session_id": "%FF"}, {}),
    (401, "GET", "/api/sessions", {}, {"who": None}),
    (403, "GET", "/api/dead-letters", {}, {"who": "anna"}),
    (403, "GET", "/healthz", {}, {"headers": {"Origin": "http://evil.example"}}),
    (404, "POST", "/api/tools/{name}", {"name": "nothing"}, {"json": {}}),
    (404, "GET", "/api/outcomes/{event_id}", {"event_id": "nothing"}, {}),
    (404, "DELETE", "/api/sessions/{session_id}", {"session_id": "nothing"}, {}),
    (409, "POST", "/api/dead-letters/{letter_id}/replay", {"letter_id": "{other}"}, {}),
    (
        409,
        "PUT",
        "/api/sessions/{session_id}/owner",
        {"session_id": "s"},
        {"json": {"agent": None, "expect_agent": "bert"}},
    ),
    (410, "GET", "/api/sessions", {}, {"params": {"after": "0.0-1.nothing"}}),
    (413, "POST", "/api/turns/history", {}, {"content": b"x" * 1_100_000}),
    (421, "GET", "/api/sessions", {}, {"headers": {"Host": "evil.example"}}),
    (422, "GET", "/api/sessions", {}, {"params": {"limit": 0}}),
    (422, "POST", "/api/owners", {}, {"json": {}}),
)


def check(document: Document, method: str, route: str, response: httpx.Response) -> None:
    """Fail unless the document has this answer: its status, its media type and its body."""
    told = document["paths"][route][method.lower()]["responses"].get(str(response.status_code))
    assert told is not None, (method, route, response.status_code)
    media = response.headers["content-type"].partition(";")[0]
    assert media in told["content"], (method, route, media)
    schema = told["content"][media].get("schema")
    if schema is not None:
        whole = {**schema, "components": document["components"]}
        Draft202012Validator(whole).validate(response.json())


@pytest.fixture
async def letters(
    running_api: RunningApi,
    settings: Settings,
    replies: Replies,
    all_lanes: tuple[Lanes, Waking],
) -> dict[str, str]:
    """Sessions `s` and `gw_r`, and dead letters: one that can be replayed, and another.

    Also a reply that was not taken, and a message that waits in `s`.
    """
    waits = Inbound("waits", "s", "hello", "anna", times.now())
    await all_lanes[1].put(waits, digest=b"waits")
    blocked = ("blocked", "s", "anna", "telegram.home", "", "", "failed", ReplyText.FAILED)
    await replies.refuse(ChannelReply(*blocked), "bot was blocked", tries=1)
    await running_api.leading.publish(
        HELLO, Event("r", EventType.APPEND, "gw_r", "user", "hello", state="running")
    )
    await add(settings, v="1", id="late", type="sing", session="s")
    await running_api.leading.publish(HELLO._replace(id="late"))
    first, second = (await running_api.get("/api/dead-letters")).json()["dead_letters"]
    return {"{letter}": first["id"], "{other}": second["id"]}


@pytest.fixture
async def document(running_api: RunningApi) -> Document:
    """The document as a caller gets it."""
    return (await running_api.get("/openapi.json")).json()


def path_of(route: str, ids: dict[str, str], letters: dict[str, str]) -> str:
    """The path of a route with its ids."""
    return route.format_map({name: letters.get(value, value) for name, value in ids.items()})


async def test_every_route_succeeds_as_it_is_described(
    running_api: RunningApi,
    document: Document,
    letters: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
):
    # The writer has shown itself since it was last looked at.
    monkeypatch.setattr(readiness, "_LAST_CHANCE", 0.0)
    await running_api.get("/readyz")
    await running_api.leading.backend.renew()
    succeeded: set[tuple[str, str]] = set()
    for method, route, ids, body in CALLS:
        response = await running_api.call(method, path_of(route, ids, letters), json=body)
        assert response.status_code == 200, (route, response.text)
        check(document, method, route, response)
        succeeded.add((method, route))

    described = document["paths"].items()
    assert succeeded == {(m.upper(), path) for path, methods in described for m in methods}


@pytest.mark.parametrize(("status", "method", "route", "ids", "options"), REFUSED)
async def test_a_refusal_is_described(
    running_api: RunningApi,
    document: Document,
    letters: dict[str, str],
    status: int,
    method: str,
    route: str,
    ids: dict[str, str],
    options: dict[str, Any],
):
    response = await running_api.call(method, path_of(route, ids, letters), **options)

    assert response.status_code == status
    check(document, method, route, response)


@pytest.mark.parametrize("patience", [0.3])
async def test_a_change_that_is_not_applied_yet_is_described(
    running_api: RunningApi, document: Document, letters: dict[str, str]
):
    await running_api.leading.pause()
    await running_api.say("s", "one more")

    for method, route, ids, body in CALLS:
        if method == "GET" or "turns" in route:
            continue
        path = path_of(route, ids, letters)
        response = await running_api.call(method, path, params={"consistency": "any"}, json=body)
        check(document, method, route, response)


def test_no_status_is_described_without_what_it_means(document: Document):
    for methods in document["paths"].values():
        for operation in methods.values():
            assert {"500", "421", "429"} <= set(operation["responses"])
            assert all(told["description"] for told in operation["responses"].values())
