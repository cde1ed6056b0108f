"""Generated answers of a model, taken through the chat's entry point."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import chain, repeat
from typing import Any

from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as profile
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect

from harness.waiting import wait_until
from ingest.failures import FAILED
from sessions.access.tokens import ensure_admin_token
from sessions.process.settings import Settings
from tests.company import company, outside, with_company
from tests.ingest.chunks import streams
from tests.ingest.model_chat import ModelChat, model_chat
from tests.ingest.model_server import events
from tests.ingest.serving import serving

# Turns at a time, each with a client of its own.
_AT_ONCE = 15


def generated(count: int) -> list[list[list[Any]]]:
    """So many turns, each as the answers that the model gives in it, one after the other."""
    found: list[list[list[Any]]] = []

    @profile(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.lists(streams(), min_size=1, max_size=3))
    def collect(turn: list[list[Any]]) -> None:
        found.append(turn)

    collect()
    return found


async def survive(settings: Settings, turns: Sequence[list[list[Any]]]) -> None:
    """Each turn ends in a stored reply or a closed and marked turn, with all that was shown.

    Two chats and a bot of another agent keep talking; they are refused nothing.
    """
    answers: dict[str, Any] = {}

    def script(request: dict[str, Any]) -> Any:
        said = [m["content"] for m in request["messages"] if m["role"] == "user"]
        return "the end" if len(said) > 1 else next(answers[said[0].split()[-1]])

    async with (
        outside() as beyond,
        model_chat(with_company(settings, beyond), script) as place,
        serving(place.app) as address,
        company(f"http://{address}", beyond, settings.workspace),
    ):
        token = ensure_admin_token(settings.workspace)
        for first in range(0, len(turns), _AT_ONCE):
            for number, turn in enumerate(turns[first : first + _AT_ONCE], first):
                answers[f"turn{number}"] = chain(map(_body, turn), repeat("the end"))
            await asyncio.gather(
                *(
                    _survive(place, address, token, f"turn{number}", turns[number])
                    for number in range(first, min(len(turns), first + _AT_ONCE))
                )
            )


def _body(chunks: list[Any]) -> Any:
    # Some end without the last word of the protocol.
    return events(*(f"data: {json.dumps(each)}\n\n" for each in chunks), done=len(chunks) % 3 != 0)


async def _survive(
    place: ModelChat, address: str, token: str, name: str, turn: list[list[Any]]
) -> None:
    async with _client(address, token, name) as socket:
        frames = await _said(socket, name)
        shown = "".join(frame["content"] for frame in frames if frame["type"] == "chunk")
        stored = await place.stored(f"gw_{name}")
        _check(frames[-1], shown, stored, turn)
        services = place.services
        await wait_until(lambda: _is_over(services, f"gw_{name}"))
        # The socket lives, and the session goes on.
        assert (await _said(socket, name, again=True))[-1]["full_response"] == "the end", turn


async def _is_over(services: Any, session: str) -> bool:
    return await services.queue.lanes.at_work(session) is None


def _check(end: dict[str, Any], shown: str, stored: list[tuple[str, str]], turn: Any) -> None:
    assert stored[0][0] == "user", turn
    last = stored[-1][1]
    if end["type"] == "error":
        expected = f"{shown}\n\n{FAILED}" if shown.strip() else FAILED
        assert stored[1:] == [("assistant", expected)], turn
        return
    assert (end["type"], end["full_response"]) == ("done", last), turn
    steps = [json.loads(text)["content"] or "" for role, text in stored[1:-1] if role != "tool"]
    assert "".join(steps) + last == shown, turn
    assert last.strip(), turn


@asynccontextmanager
async def _client(address: str, token: str, session: str) -> AsyncIterator[ClientConnection]:
    url = f"ws://{address}/ws/chat?agent=anna&session_id={session}"
    headers = {"Authorization": f"Bearer {token}"}
    async with connect(url, additional_headers=headers) as socket:
        assert json.loads(await socket.recv())["type"] == "session_start"
        yield socket


async def _said(socket: ClientConnection, name: str, *, again: bool = False) -> list[Any]:
    """Say something, and give the frames up to the end of its turn."""
    content = f"again {name}" if again else name
    await socket.send(json.dumps({"type": "message", "content": content}))
    frames: list[Any] = []
    async with asyncio.timeout(30):
        while not frames or frames[-1]["type"] not in ("done", "error"):
            frames.append(json.loads(await socket.recv()))
    return frames
