"""A server that speaks the chat completions API, streamed, and does what the test says."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from tests.ingest.serving import serving

Script = Callable[[dict[str, Any]], Any]


class ModelServer:
    """Answers with `script(request)`: a text, a list of tool calls, or a Response.

    The script may be a coroutine function, which answers when it likes.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.app = FastAPI()
        self.app.add_api_route("/v1/chat/completions", self._complete, methods=["POST"])

    async def _complete(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        said = self.script(body)
        if inspect.isawaitable(said):
            said = await said
        return said if isinstance(said, Response) else events(*chunks_of(said))


def chunks_of(said: str | Sequence[tuple[str, Any]]) -> list[Any]:
    """The chunks of a text, or of calls of tools by (name, arguments)."""
    if isinstance(said, str):
        words = said.split(" ")
        deltas = [{"content": word + (" " if word is not words[-1] else "")} for word in words]
        return [*map(chunk, deltas), chunk({}, finish="stop"), usage(7, 3)]
    calls = [call_piece(f"call_{n}", name, args, index=n) for n, (name, args) in enumerate(said)]
    pieces = [chunk({"tool_calls": [call]}) for call in calls]
    return [*pieces, chunk({}, finish="tool_calls"), usage(7, 3)]


def chunk(delta: Any, *, finish: Any = None) -> dict[str, Any]:
    """A chunk with one choice."""
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def call_piece(id: str, name: str, arguments: Any, *, index: int) -> dict[str, Any]:
    """A whole call; its arguments as JSON, or as they are where they are a text."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    function = {"name": name, "arguments": text}
    return {"index": index, "id": id, "type": "function", "function": function}


def usage(asked: int, said: int) -> dict[str, Any]:
    """The chunk with the numbers of tokens."""
    tokens = {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
    return {"choices": [], "usage": tokens}


def events(*chunks: Any, done: bool = True) -> Response:
    """A stream of these chunks; texts are sent as they are."""
    whole = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    lines = [
        each
        if isinstance(each, str)
        else f"data: {json.dumps({**whole, **each} if isinstance(each, dict) else each)}\n\n"
        for each in chunks
    ]
    return raw(*lines, *(["data: [DONE]\n\n"] if done else []))


def raw(*parts: str | bytes, media_type: str = "text/event-stream") -> Response:
    """A body of these parts, one after the other."""
    return StreamingResponse(_sent(parts), media_type=media_type)


async def _sent(parts: Iterable[str | bytes]) -> AsyncIterator[str | bytes]:
    for part in parts:
        yield part


def broken(*parts: str, status: int = 200) -> Response:
    """A body that breaks off behind these parts, without the end that HTTP wants."""
    return StreamingResponse(_breaking(parts), status, media_type="text/event-stream")


def endless(status: int, *, size: int) -> Response:
    """A body that begins with so many bytes, and does not end."""
    return StreamingResponse(_going_on(size), status)


async def _going_on(size: int) -> AsyncIterator[bytes]:
    yield bytes(size)
    await asyncio.sleep(60)


async def _breaking(parts: Iterable[str]) -> AsyncIterator[str]:
    for part in parts:
        yield part
    raise ConnectionAbortedError


def failure(status: int, message: str, **more: Any) -> Response:
    return JSONResponse({"error": {"message": message, **more}}, status)


@asynccontextmanager
async def model_server(script: Script) -> AsyncIterator[tuple[ModelServer, str]]:
    """The server and the base URL of its API."""
    server = ModelServer(script)
    async with serving(server.app) as address:
        yield server, f"http://{address}/v1"
