"""`python -m bench.bare DATABASE PORT`: the measure of the api's reads.

FastAPI routes that run the query of a read in the event loop's thread and answer the same bytes,
as one would write them for a program of a single user: no tokens, no limits, nobody to wait for,
and none of our code.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import uvicorn
from fastapi import FastAPI, Request, Response
from pydantic_core import to_json

from sessions.store.sqlite.library import sqlite3

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SESSION: Final = (
    "s.key, s.created_at, s.last_activity, s.message_count, s.agent, s.channel, s.room, s.sender, "
    "s.state, s.name, s.id"
)
_MESSAGE: Final = "m.seq, m.event_id, m.role, m.content, m.created_at"
_LIST: Final = (
    f"SELECT {_SESSION} FROM sessions s WHERE s.live "
    "ORDER BY s.last_activity DESC, s.id DESC LIMIT ?"
)
_HISTORY: Final = (
    f"SELECT {_MESSAGE} FROM messages m WHERE m.session_id = "
    "(SELECT id FROM sessions WHERE key = ? AND live) ORDER BY m.seq DESC LIMIT ?"
)
_SEARCH: Final = (
    f"SELECT s.key, {_MESSAGE} FROM search CROSS JOIN messages m ON m.id = search.rowid "
    "CROSS JOIN sessions s ON s.id = m.session_id "
    "WHERE search MATCH ? AND s.live ORDER BY search.rowid DESC LIMIT ?"
)

Row = tuple[Any, ...]


def create_app(database: str) -> FastAPI:
    """The routes on that database."""
    app, reads = FastAPI(), BareReads(database)
    app.add_api_route("/api/sessions", reads.list_sessions)
    app.add_api_route("/api/sessions/{session_id}/messages", reads.read_messages)
    app.add_api_route("/api/sessions/{session_id}/state", reads.read_state)
    for name in ("search", "list", "history"):
        tool = getattr(reads, f"call_{name}")
        app.add_api_route(f"/api/tools/sessions_{name}", tool, methods=["POST"])
    return app


class BareReads:
    """Routes that run one query each, in the event loop's thread, and answer what it found."""

    def __init__(self, database: str) -> None:
        self._store = sqlite3.connect(f"file:{database}?mode=ro", uri=True, isolation_level=None)

    def _rows(self, sql: str, *parameters: object) -> list[Row]:
        return self._store.execute(sql, parameters).fetchall()

    async def list_sessions(self, limit: int = 50) -> Response:
        """A page of sessions."""
        found, more = _sessions(self._rows(_LIST, limit + 1), limit)
        return _answer({"sessions": [*map(_session, found)], "next_cursor": more})

    async def read_messages(self, session_id: str, limit: int = 20) -> Response:
        """The newest messages of a session."""
        found, more = _messages(self._rows(_HISTORY, session_id, limit + 1), limit)
        return _answer(
            {
                "session_id": session_id,
                "messages": [*map(_message, found)],
                "session_persistence": True,
                "next_cursor": more,
            }
        )

    async def read_state(self, session_id: str) -> Response:
        """Whether a turn runs in a session."""
        [(state,)] = self._rows("SELECT state FROM sessions WHERE key = ? AND live", session_id)
        return _answer({"session_id": session_id, "state": state})

    async def call_search(self, request: Request) -> Response:
        """Messages with a word."""
        wanted = await request.json()
        found = self._rows(_SEARCH, f'"{wanted["query"]}"', 21)[:20]
        lines = [f"- {row[0]} [{row[3]}] {_shown(row[5])} UTC: {row[4][:200]}\n" for row in found]
        messages = [{"session": key, **_message(row)} for key, *row in found]
        output = f"Found {len(lines)} message(s):\n{''.join(lines)}"
        return self._tool(output, {"messages": messages, "next_cursor": None})

    async def call_list(self, request: Request) -> Response:
        """A page of sessions, as a tool tells it."""
        limit = (await request.json())["limit"]
        found, more = _sessions(self._rows(_LIST, limit + 1), limit)
        lines = [
            f"- {row[0]}: channel={row[0].partition('__')[0]}, messages={row[3]}, "
            f"last_activity={_shown(row[2])} UTC\n"
            for row in found
        ]
        output = f"Found {len(lines)} session(s):\n{''.join(lines)}"
        return self._tool(output, {"sessions": [*map(_session, found)], "next_cursor": more})

    async def call_history(self, request: Request) -> Response:
        """The newest messages of a session, as a tool tells them."""
        wanted = await request.json()
        key, limit = wanted["session_id"], wanted["limit"]
        counted = "SELECT message_count FROM sessions WHERE key = ? AND live"
        [(total,)] = self._rows(counted, key)
        found, more = _messages(self._rows(_HISTORY, key, limit + 1), limit)
        lines = "".join([f"[{row[2]}] {row[3]}\n" for row in found])
        output = f"Session '{key}': showing {len(found)}/{total} messages\n{lines}"
        data = {"session": key, "messages": [*map(_message, found)], "total": total}
        return self._tool(output, {**data, "next_cursor": more})

    def _tool(self, output: str, data: dict[str, Any]) -> Response:
        [(epoch, ms, n)] = self._rows("SELECT epoch, ms, n FROM stream")
        body = {"success": True, "output": output, "error": None, "data": data}
        return _answer({**body, "position": f"{epoch}.{ms}-{n}."})


def _answer(body: Any) -> Response:
    return Response(to_json(body), media_type="application/json")


def _sessions(rows: list[Row], limit: int) -> tuple[list[Row], str | None]:
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], f"{rows[limit - 1][2]}.{rows[limit - 1][-1]}"


def _session(row: Row) -> dict[str, Any]:
    key, created, active, count, agent, channel, room, sender, state, name, _ = row
    found = {
        "session_id": key.removeprefix("gw_"),
        "session_key": key,
        "created_at": _rendered(created),
        "last_activity": _rendered(active),
        "message_count": count,
        "agent_alias": agent,
        "channel_id": channel,
        "room_id": room,
        "sender_id": sender,
        "state": state,
    }
    return {**found, "name": name} if name else found


def _messages(rows: list[Row], limit: int) -> tuple[list[Row], str | None]:
    shown = rows[:limit]
    shown.reverse()
    return shown, str(shown[0][0]) if len(rows) > limit else None


def _message(row: Sequence[Any]) -> dict[str, Any]:
    seq, event_id, role, content, created = row
    return {
        "seq": seq,
        "id": event_id,
        "role": role,
        "content": content,
        "created_at": _rendered(created),
    }


def _rendered(micros: int) -> str:
    return (_EPOCH + timedelta(microseconds=micros)).isoformat()


def _shown(micros: int) -> str:
    return _rendered(micros).replace("T", " ").removesuffix("+00:00")


def main() -> None:
    """Serve with the settings that a web process of ours has, and none of its edge."""
    database, port = sys.argv[1:]
    with suppress(KeyboardInterrupt):
        uvicorn.run(
            create_app(database),
            port=int(port),
            http="httptools",
            loop="asyncio",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
        )


if __name__ == "__main__":
    main()
