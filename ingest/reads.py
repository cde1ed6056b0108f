"""What a turn reads: histories and outcomes, asked of the api, which alone opens the store."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, Final, Protocol

import httpx

from ingest.errors import ApiUnavailable
from ingest.prompt import HISTORY, Said
from sessions import times
from sessions.errors import PositionLost, StoreBehind
from sessions.lanes import Lanes
from sessions.models import Outcome, OutcomeKind, Position


@dataclass(frozen=True, slots=True)
class History:
    """The newest messages of a session, oldest first, and the point that they were read at."""

    messages: list[Said]
    ids: list[str]
    total: int
    position: Position


class SessionReads(Protocol):
    """Reading the store. Every method raises Retryable where that is not possible now."""

    async def history(
        self, session: str, *, limit: int = HISTORY, after: Position | None = None
    ) -> History:
        """The newest messages as they are, or once `after` was reached; StoreBehind if not soon."""
        ...

    async def outcome(self, event_id: str, after: Position) -> Outcome | None:
        """The outcome of an event published at `after`; None where it is not applied soon.

        Raises PositionLost where it never will be.
        """
        ...


async def fresh_history(
    reads: SessionReads, lanes: Lanes, session: str, *, early: History | None = None
) -> History:
    """The history with everything that was on the stream for this session when it was asked for.

    What other sessions have in the stream is not waited for. One that was read `early` will do
    where nothing has come since. Raises StoreBehind where the session's own entries are not
    applied soon.
    """
    history = early or await reads.history(session)
    newest = await lanes.newest(session, history.position)
    return history if newest is None else await reads.history(session, after=newest)


class ApiReads:
    """Reads through the api's routes, over the network or within the process."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def history(
        self, session: str, *, limit: int = HISTORY, after: Position | None = None
    ) -> History:
        """The newest messages, by the tool that agents use too: its arguments stand any key."""
        query = {"consistency": "any"} if after is None else {"after": str(after)}
        answer = await self._ask(
            "POST",
            "/api/tools/sessions_history",
            params=query,
            json={"session_id": session, "limit": limit},
        )
        found: dict[str, Any] = answer.json()
        data: dict[str, Any] = found["data"] or _NOTHING
        # The tool finds a gateway's session under its short name too; that one was not meant.
        rows: list[dict[str, Any]] = data["messages"] if data["session"] == session else []
        return History(
            [Said(row["role"], row["content"], times.parse(row["created_at"])) for row in rows],
            [row["id"] for row in rows],
            data["total"] if rows else 0,
            Position.parse(found["position"]),
        )

    async def outcome(self, event_id: str, after: Position) -> Outcome | None:
        """The outcome, after at most the 2 s that the api waits."""
        try:
            answer = await self._ask("GET", f"/api/outcomes/{event_id}", {"after": str(after)})
        except StoreBehind:
            return None
        return None if answer.status_code == 404 else _outcome(answer.json())

    async def _ask(
        self, method: str, path: str, params: dict[str, str], json: Any = None
    ) -> httpx.Response:
        try:
            answer = await self._client.request(method, path, params=params, json=json)
        except httpx.HTTPError as error:
            raise ApiUnavailable(f"the api does not answer: {error!r}") from error
        if answer.is_success or answer.status_code == 404:
            return answer
        raise _refusal(answer)


_NOTHING: Final[dict[str, Any]] = {"session": None, "messages": [], "total": 0}


def _refusal(answer: httpx.Response) -> Exception:
    problem: dict[str, Any] = {}
    with contextlib.suppress(ValueError):
        problem = answer.json()
    text: str = problem.get("error", f"the api answered {answer.status_code}")
    if problem.get("code") == "store_behind":
        return StoreBehind(text, lag=problem.get("lag"))
    if answer.status_code == 410:
        return PositionLost(text)
    return ApiUnavailable(f"the api refused to read: {answer.status_code} {text}")


def _outcome(body: dict[str, Any]) -> Outcome:
    return Outcome(
        id=body["id"],
        outcome=OutcomeKind(body["outcome"]),
        reason=body["reason"],
        session=body["session"],
        position=Position.parse(body["position"]),
        duplicates=body["duplicates"],
        detail=body["detail"],
    )
