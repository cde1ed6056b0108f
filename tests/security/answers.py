"""What an agent is answered, without what may differ: positions, cursors, times and made-up ids."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import httpx

from tests.security.cases import Call, Case, Talk
from tests.security.sockets import LAST, Socket
from tests.security.worlds import World

_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_POSITION: Final = re.compile(r"\b\d+\.\d+-\d+\.(?P<id>[A-Za-z0-9._:@-]*)")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?( ?(UTC|Z|[+-]\d\d:\d\d))")
_CURSOR: Final = re.compile(r'("next_cursor": ?|next_cursor=|cursor )"?(?!null)[^",\s}]+"?')
_PREFIX: Final = re.compile(r"\bsecurity-[0-9a-f]{12}:")
# They say what is exempt, or follow from the body.
_SILENT: Final = frozenset({"date", "content-length", "server"})
# How often an answer that asks to come again is asked for again, on a busy machine.
_TRIES: Final = 5


def plain(text: str) -> str:
    """A text without what may differ."""
    text = _PREFIX.sub("<prefix>:", text)
    text = _POSITION.sub(lambda match: f"<position {match['id']}>", text)
    return _CURSOR.sub(r"\1<cursor>", _TIME.sub("<time>", _UUID.sub("<id>", text)))


def _headers(headers: Mapping[str, str]) -> list[str]:
    return sorted(f"{k}: {plain(v)}" for k, v in headers.items() if k not in _SILENT)


def _whole(response: httpx.Response) -> str:
    length = response.headers.get("content-length")
    assert length is None or int(length) == len(response.content)
    body = plain(response.text)
    return "\n".join([str(response.status_code), *_headers(response.headers), body])


async def answers(world: World, case: Case) -> list[str]:
    """All that the caller is told in this world."""
    if isinstance(case, Talk):
        found = await _talk(world, case)
        await _applied(world)
        return found
    response = await _request(world, case, case.path, case.body)
    found = [_whole(response)]
    for wanted in case.then:
        found += await _then(world, case, response, wanted)
    if response.is_success and case.path.startswith("/channels/"):
        alias = case.path.rpartition("/")[2]
        await world.free([each["session"] for each in response.json()["accepted"]], alias)
    if response.is_success and case.path.startswith(("/channels/", "/api/events")):
        await _applied(world)
    return found


async def _applied(world: World) -> None:
    """Wait for the worker, so that what comes next does not depend on how quick it was."""
    await world.admin("GET", "/api/sessions", params={"limit": 1})


async def _request(world: World, case: Call, path: str, body: str | None) -> httpx.Response:
    headers = {**case.headers, **world.headers(case.who)}
    if body is not None:
        headers.setdefault("content-type", "application/json")
    for _ in range(_TRIES):
        response = await world.http.request(case.method, path, headers=headers, content=body)
        if response.status_code not in (429, 503):
            break
        await asyncio.sleep(0.2)
    return response


async def _then(world: World, case: Call, response: httpx.Response, wanted: str) -> list[str]:
    """The next page, or the outcomes of what was published."""
    if not response.is_success:
        return []
    document = response.json()
    if wanted == "outcome":
        return [text for each in document["events"] for text in await _fate(world, case, each)]
    cursor = (document.get("data") or document).get("next_cursor")
    if cursor is None:
        return []
    if case.method == "GET":
        path = f"{case.path}&cursor={quote(cursor)}"
        return [_whole(await _request(world, case, path, None))]
    body = {**json.loads(case.body or "{}"), "cursor": cursor}
    return [_whole(await _request(world, case, case.path, json.dumps(body)))]


async def _fate(world: World, case: Call, published: Mapping[str, str]) -> list[str]:
    path = f"/api/outcomes/{published['id']}"
    headers = world.headers(case.who)
    asked = [{}, {"entry": published["position"]}]
    return [_whole(await world.http.get(path, params=p, headers=headers)) for p in asked]


async def _talk(world: World, case: Talk) -> list[str]:
    headers, query, offered = _shown(world, case)
    async with Socket.opened(world.app, query, headers, offered) as socket:
        found = [await socket.next()]
        if found[0]["type"] in ("refused", "closed"):
            return [plain(json.dumps(found[0]))]
        for number, frame in enumerate(case.frames):
            await socket.send(frame)
            if answered(frame, first=number == 0):
                found += await socket.until_last()
            if found[-1]["type"] == "silence":
                break
            # A turn of its own that still winds up would change the words of the next error.
            await world.rests(f"gw_{found[0]['session_id']}", case.token)
        # Whatever came beside the answers comes before this one.
        await socket.send("no JSON")
        found += await socket.until_last()
    return [plain(json.dumps(frame, ensure_ascii=False)) for frame in _joined(found)]


def answered(frame: str, *, first: bool) -> bool:
    """Whether the server says something to a frame while no turn runs."""
    try:
        fields = json.loads(frame)
    except ValueError:
        return True
    kind = fields.get("type") if isinstance(fields, dict) else None
    if kind == "message":
        return bool(fields["content"]) or not first
    return kind != "approval_response" or first


def _shown(world: World, case: Talk) -> tuple[dict[str, str], str, tuple[str, ...]]:
    token = world.tokens[case.token]
    if case.way == "header":
        return {"authorization": f"Bearer {token}"}, case.query, ()
    if case.way == "query":
        return {}, f"{case.query}&token={token}", ()
    return {}, case.query, ("zeroclaw.v1", f"bearer.{token}")


def _joined(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The frames with the pieces of each answer in one: where it is cut is chance."""
    found: list[dict[str, Any]] = []
    for frame in frames:
        if frame["type"] == "chunk" and found and found[-1]["type"] == "chunk":
            found[-1] = {**frame, "content": found[-1]["content"] + frame["content"]}
        else:
            found.append(frame)
    return found


__all__ = ["LAST", "answers", "plain"]
