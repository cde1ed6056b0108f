"""A server that speaks the chat completions API, streamed, and does what the test says."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from tests.ingest.serving import serving

Script = Callable[[dict[str, Any]], Any]


class ModelServer:
    """Answers with `script(request)`: a text, a list of tool calls, or a Response."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[dict[str, Any]] = []
        self.app = FastAPI()
        self.app.add_api_route("/v1/chat/completions", self._complete, methods=["POST"])

    async def _complete(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        said = self.script(body)
        if isinstance(said, Response):
            return said
        return StreamingResponse(_chunks(said), media_type="text/event-stream")


async def _chunks(said: str | list[tuple[str, dict[str, Any]]]) -> AsyncIterator[str]:
    if isinstance(said, str):
        deltas = [{"content": word} for word in said.split(" ")]
        deltas = [{"content": d["content"] + (" " if d is not deltas[-1] else "")} for d in deltas]
    else:
        deltas = [
            {
                "tool_calls": [
                    {
                        "index": index,
                        "id": f"call_{index}",
                        "type": "function",
                        "function": {"name": name, "arguments": json.dumps(arguments)},
                    }
                ]
            }
            for index, (name, arguments) in enumerate(said)
        ]
    for delta in deltas:
        yield _event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    yield _event({"choices": [], "usage": usage})
    yield "data: [DONE]\n\n"


def _event(part: dict[str, Any]) -> str:
    whole = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", **part}
    return f"data: {json.dumps(whole)}\n\n"


def failure(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message}}, status)


@asynccontextmanager
async def model_server(script: Script) -> AsyncIterator[tuple[ModelServer, str]]:
    """The server and the base URL of its API."""
    server = ModelServer(script)
    async with serving(server.app) as address:
        yield server, f"http://{address}/v1"
