"""One api with its store, its stream and a leader, and short ways to call it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
from fastapi import FastAPI

from sessions.ids import new_id
from sessions.models import Event, EventType, Position
from tests.leading import Leading

Body = dict[str, Any]


@dataclass
class RunningApi:
    """The api as its callers have it; `who` names one of the tokens (see `tokens`)."""

    app: FastAPI
    http: httpx.AsyncClient
    leading: Leading
    tokens: Mapping[str, str]

    async def call(
        self,
        method: str,
        path: str,
        *,
        who: str | None = "admin",
        headers: Mapping[str, str | bytes] | None = None,
        **options: Any,
    ) -> httpx.Response:
        """One request; `who` None sends no token, `admin as anna` narrows it to an agent."""
        given = {name.encode(): _bytes(value) for name, value in (headers or {}).items()}
        if who is not None:
            whose, _, agent = who.partition(" as ")
            given[b"Authorization"] = b"Bearer " + self.tokens[whose].encode()
            if agent:
                given[b"X-Turnstream-Agent"] = agent.encode()
        return await self.http.request(method, path, headers=given, **options)

    async def get(self, path: str, *, who: str | None = "admin", **params: Any) -> httpx.Response:
        """GET with these parameters."""
        return await self.call("GET", path, who=who, params=params)

    async def tool(
        self,
        name: str,
        arguments: Body | None = None,
        *,
        who: str = "admin",
        headers: Mapping[str, str | bytes] | None = None,
        **params: Any,
    ) -> httpx.Response:
        """Call a tool."""
        return await self.call(
            "POST",
            f"/api/tools/{name}",
            who=who,
            headers=headers,
            params=params,
            json=arguments or {},
        )

    async def answer(self, name: str, arguments: Body | None = None, **options: Any) -> Body:
        """The answer of a tool that could be asked."""
        response = await self.tool(name, arguments, **options)
        assert response.status_code == 200, response.text
        return response.json()

    async def text(self, name: str, arguments: Body | None = None, **options: Any) -> str:
        """What a tool says: its output, or its error."""
        body = await self.answer(name, arguments, **options)
        return body["output"] if body["success"] else body["error"]

    async def data(self, name: str, arguments: Body | None = None, **options: Any) -> Body:
        """The structure in a tool's answer."""
        body = await self.answer(name, arguments, **options)
        assert body["success"], body
        return body["data"]

    async def say(self, session: str, *contents: str, **fields: Any) -> Position:
        """Publish appends (by the user, unless `role` is given); the last one's position."""
        return await self.leading.publish(
            *(
                Event(
                    id=new_id(),
                    type=EventType.APPEND,
                    session=session,
                    content=content,
                    **{"role": "user", **fields},
                )
                for content in contents
            )
        )

    async def publish(self, kind: EventType, session: str, **fields: Any) -> Position:
        """Publish any other event."""
        return await self.leading.publish(
            Event(id=fields.pop("id", new_id()), type=kind, session=session, **fields)
        )

    async def contents(self, session: str) -> list[str]:
        """What the messages of a session say."""
        data = await self.data("sessions_history", {"session_id": session, "limit": 1000})
        return [message["content"] for message in data["messages"]]


def path_of(session: str, *rest: str) -> str:
    """The path of a session as a resource."""
    return "/".join(["/api/sessions", quote(session, safe=""), *rest])


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()
