"""The session tools, as one agent may use them: through the api, under the agent's own token."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from sessions.errors import Retryable
from sessions.tokens import TokenScope, TokenVerifier, create_token, list_tokens, revoke_token

log = logging.getLogger(__name__)

# Characters of a tool's output that a model is given: some 4,000 tokens.
MOST_OUTPUT: Final = 16_000
_NOTE: Final = "made by ingest for its agent, until it ends"


class SessionTools:
    """What one agent may do with sessions. Without a token of that agent: nothing."""

    def __init__(
        self, api: httpx.AsyncClient, tokens: TokenVerifier, *, agent: str, token: str | None
    ) -> None:
        self._api = api
        self._tokens = tokens
        self._agent = agent
        self._token = token
        self._offered: list[dict[str, Any]] | None = None

    async def offered(self) -> list[dict[str, Any]]:
        """The tools in the form of chat completions; empty where the agent may use none."""
        if self._offered is None and await self._is_agents_own():
            try:
                answer = await self._api.get("/api/tools", headers=self._headers(None))
                answer.raise_for_status()
            except httpx.HTTPError as error:
                log.warning("the api does not offer its tools: %r", error)
                return []
            self._offered = answer.json()["tools"]
        return self._offered or []

    async def _is_agents_own(self) -> bool:
        # An administrator's token would show the agent everybody's sessions.
        if self._token is None:
            return False
        try:
            principal = await self._tokens.verify(self._token)
        except Retryable:
            return False
        return principal is not None and principal.agent == self._agent

    async def call(self, session: str, name: str, arguments: str) -> str:
        """The text that the model reads; a failure is told as text too, since it may try again."""
        try:
            body = json.loads(arguments or "{}")
        except ValueError as error:
            return f"Error: the arguments are not valid JSON: {error}"
        try:
            answer = await self._api.post(
                f"/api/tools/{name}" if name.isidentifier() else "/api/tools/_",
                json=body,
                headers=self._headers(session),
            )
            found: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            log.warning("the tool %r cannot be called: %r", name, error)
            return "Error: the tool cannot be reached now"
        error = found.get("error")
        return f"Error: {error}" if error else str(found.get("output", ""))[:MOST_OUTPUT]

    def _headers(self, session: str | None) -> dict[bytes, bytes]:
        headers = {b"authorization": f"Bearer {self._token}".encode()}
        if session is not None and session.isprintable():
            headers[b"x-turnstream-session"] = session.encode()
        return headers


@asynccontextmanager
async def tokens_for(workspace: Path, agents: Iterable[str]) -> AsyncGenerator[dict[str, str]]:
    """A token for each agent, for as long as the context is open; what a crash left is removed."""
    _revoke_all(workspace)
    try:
        yield {
            agent: create_token(workspace, scope=TokenScope.SEND, agent=agent, note=_NOTE)[0]
            for agent in agents
        }
    finally:
        _revoke_all(workspace)


def _revoke_all(workspace: Path) -> None:
    for entry in list_tokens(workspace):
        if entry.note == _NOTE:
            revoke_token(workspace, entry.id)
