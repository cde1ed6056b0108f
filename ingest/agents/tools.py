"""The session tools, as one agent may use them: through the api, narrowed to that agent."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final, cast

import httpx

from sessions.access.tokens import AGENT_HEADER
from sessions.process.tracing import FIELD, carried

log = logging.getLogger(__name__)

# Characters of a tool's output that a model is given: some 4,000 tokens.
MOST_OUTPUT: Final = 16_000


class SessionTools:
    """What one agent may do with sessions; nothing where the api does not take us for that agent.

    `api` shows the token of this process, which is no agent's.
    """

    def __init__(self, api: httpx.AsyncClient, *, agent: str) -> None:
        self._api = api
        self._agent = agent
        self._offered: list[dict[str, Any]] = []

    async def offered(self) -> list[dict[str, Any]]:
        """The tools in the form of chat completions; empty where the agent may use none."""
        if not self._offered:
            try:
                self._offered = await self._ask()
            except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
                log.warning("the api does not offer its tools: %s", type(error).__name__)
        return self._offered

    async def _ask(self) -> list[dict[str, Any]]:
        # An api that does not know the header would show an administrator everybody's sessions.
        found = await self._api.get("/api/tokens/self", headers=self._headers(None))
        if not found.is_success or found.json()["agent"] != self._agent:
            return []
        answer = await self._api.get("/api/tools", headers=self._headers(None))
        answer.raise_for_status()
        return answer.json()["tools"]

    async def call(self, session: str, name: str, arguments: str) -> str:
        """The text that the model reads; a failure is told as text too, since it may try again.

        `arguments` is the JSON text of an object.
        """
        if not self._offered:
            return "Error: there are no tools"
        try:
            answer = await self._api.post(
                f"/api/tools/{name}" if name.isidentifier() else "/api/tools/_",
                content=arguments.encode(),
                headers={**self._headers(session), b"content-type": b"application/json"},
            )
            found: object = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            log.warning("a tool cannot be called: %s", type(error).__name__)
            return "Error: the tool cannot be reached now"
        return _told(cast("dict[str, Any]", found) if isinstance(found, dict) else {})

    def _headers(self, session: str | None) -> dict[bytes, bytes]:
        headers = {AGENT_HEADER.encode(): self._agent.encode()}
        if session is not None and session.isprintable():
            headers[b"x-turnstream-session"] = session.encode()
        if (trace := carried()) is not None:
            headers[FIELD.encode()] = trace.encode()
        return headers


def _told(found: Mapping[str, Any]) -> str:
    error = found.get("error")
    return str(f"Error: {error}" if error else found.get("output", ""))[:MOST_OUTPUT]
