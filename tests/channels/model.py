"""The model behind the agents of the suite: it answers with the note of the message."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse

from tests.ingest.model_server import chunk, chunks_of, events

# The tools to call next, as (name, arguments), or the answer, from what was said by those before.
Plan = Callable[[Sequence[str]], Sequence[tuple[str, Any]] | str]
NOTE: Final = re.compile(r"note\d+x")


@dataclass
class Model:
    """Answers `{agent}: {note}`, or what `scripts` say for the note, in two pieces.

    An answer whose note is in `held` stops after the first piece until it is let go; the note is in
    `begun` once that piece is on its way. A note that is in `plans` is answered by the plan, which
    may use tools first.
    """

    scripts: dict[str, str] = field(default_factory=dict[str, str])
    plans: dict[str, Plan] = field(default_factory=dict[str, Plan])
    held: dict[str, asyncio.Event] = field(default_factory=dict[str, asyncio.Event])
    asked: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    begun: set[str] = field(default_factory=set[str])

    def app(self) -> FastAPI:
        app = FastAPI()
        app.add_api_route("/{agent}/v1/chat/completions", self._complete, methods=["POST"])
        return app

    @contextmanager
    def holding(self, *notes: str) -> Any:
        """Let the answers to these wait while the block lasts."""
        opened = asyncio.Event()
        self.held |= dict.fromkeys(notes, opened)
        try:
            yield
        finally:
            opened.set()
            for note in notes:
                del self.held[note]

    def runs(self, note: str) -> list[str]:
        """The agents that were asked about the note, once for each time."""
        return [agent for agent, asked in self.asked if asked == note]

    async def _complete(self, agent: str, request: Request) -> Response:
        messages = (await request.json())["messages"]
        last = max(n for n, message in enumerate(messages) if message["role"] == "user")
        [note] = NOTE.findall(messages[last]["content"])
        results = [message["content"] for message in messages[last:] if message["role"] == "tool"]
        if not results:
            self.asked.append((agent, note))
        if (plan := self.plans.get(note)) is not None:
            return events(*chunks_of(plan(results)))
        return StreamingResponse(self._pieces(agent, note), media_type="text/event-stream")

    async def _pieces(self, agent: str, note: str) -> AsyncIterator[str]:
        head, _, tail = self.scripts.get(note, f"{agent}: {note}").partition(" ")
        yield _event({"content": f"{head} "})
        self.begun.add(note)
        if (held := self.held.get(note)) is not None:
            await held.wait()
        yield _event({"content": tail}, finish="stop")
        yield "data: [DONE]\n\n"


def _event(delta: dict[str, str], *, finish: str | None = None) -> str:
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "suite"}
    return f"data: {json.dumps({**head, **chunk(delta, finish=finish)})}\n\n"
