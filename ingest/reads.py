"""What a turn reads: histories and outcomes, asked of the api, which alone opens the store."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from ingest.prompt import HISTORY, HistoryMessage
from sessions import times
from sessions.errors import PositionLost, StoreBehind
from sessions.models import Outcome, OutcomeKind, Position
from sessions.web.rejections import ApiUnavailable


@dataclass(frozen=True, slots=True)
class History:
    """The newest messages of a session, oldest first, and the point that they were read at.

    `available` is false for a session that the agent has no turns in: another agent's, or one
    whose key is another's. Nothing of it is shown then.
    """

    messages: list[HistoryMessage]
    ids: list[str]
    total: int
    position: Position
    available: bool = True
    name: str | None = None


@dataclass(frozen=True, slots=True)
class UnansweredMessage:
    """The last message of a session, which a person wrote; `turn` is there if it opened one.

    Without `id` no message waits: the session only says that a turn runs `since` then.
    """

    session: str
    agent: str
    id: str | None
    turn: str | None
    since: str | None = None


@dataclass(frozen=True, slots=True)
class UnansweredPage:
    """Some of them, and where the next ones are; read at `position`."""

    messages: list[UnansweredMessage]
    next_cursor: str | None
    position: Position


class TurnReads(Protocol):
    """What turns read of a session. Every method raises Retryable if that is not possible now."""

    async def history(
        self,
        session: str,
        agent: str,
        *,
        limit: int = HISTORY,
        after: Position | None = None,
        fresh: bool = False,
    ) -> History:
        """The newest messages of an agent's session, as they are.

        Once `after` was reached, or with `fresh` once all was applied that is on the stream now;
        StoreBehind if that is not soon.
        """
        ...

    async def outcome(self, event_id: str, after: Position) -> Outcome | None:
        """The outcome of an event published at `after`; None where it is not applied soon.

        Raises PositionLost where it never will be.
        """
        ...

    async def message(self, session: str, agent: str, event_id: str) -> str | None:
        """The text that the event left in an agent's session; None if it is not there.

        Fresh, if it is not there at once.
        """
        ...


class SessionReads(TurnReads, Protocol):
    """Reading the store, also for what no turn asks for."""

    async def unanswered(self, *, limit: int, cursor: str | None, seconds: int) -> UnansweredPage:
        """Messages of people that nobody answers any more, in the sessions of channels.

        Fresh; newest activity first, of `limit` sessions at a time. What came onto the stream
        within so many seconds is left out.
        """
        ...

    async def keeps_key(
        self,
        former: str,
        *,
        channel: str | None,
        room: str | None,
        sender: str | None,
        by_room: bool,
    ) -> bool:
        """Whether there is or was a session of that key with exactly this routing.

        With `by_room` everybody shares the room's session, and its sender does not count. Fresh;
        raises StoreBehind if the store does not know soon.
        """
        ...


class StreamEnd(Protocol):
    """Knows what of a session is in the stream."""

    async def newest(self, session: str, after: Position) -> Position | None:
        """The session's newest entry behind a point of the stream; None if there is none.

        Raises StoreBehind while the store reads another epoch of the stream.
        """
        ...


async def fresh_history(
    reads: TurnReads,
    stream: StreamEnd,
    session: str,
    agent: str,
    *,
    early: History | None = None,
) -> History:
    """The history with everything that was on the stream for this session when it was asked for.

    What other sessions have in the stream is not waited for. One that was read `early` will do
    where nothing has come since. Raises StoreBehind where the session's own entries are not
    applied soon.
    """
    history = early or await reads.history(session, agent)
    newest = await stream.newest(session, history.position)
    return history if newest is None else await reads.history(session, agent, after=newest)


class ApiReads:
    """Reads through the api's routes, over the network or within the process."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def history(
        self,
        session: str,
        agent: str,
        *,
        limit: int = HISTORY,
        after: Position | None = None,
        fresh: bool = False,
    ) -> History:
        """The newest messages, with what the agent may know of the session."""
        query = {"after": str(after)} if after is not None else {"consistency": "any"}
        answer = await self._ask(
            "POST",
            "/api/turns/history",
            params={} if fresh else query,
            json={"session": session, "agent": agent, "limit": limit},
        )
        found = _found(answer)
        rows: list[dict[str, Any]] = found["messages"]
        return History(
            [
                HistoryMessage(row["role"], row["content"], times.parse(row["created_at"]))
                for row in rows
            ],
            # An id of another publisher is not the one that this process would make.
            ["" if row.get("by") else row["id"] for row in rows],
            found["total"],
            Position.parse(found["position"]),
            available=found["available"],
            name=found["name"],
        )

    async def outcome(self, event_id: str, after: Position) -> Outcome | None:
        """The outcome, after at most the 2 s that the api waits."""
        try:
            answer = await self._ask("GET", f"/api/turns/outcome/{event_id}", {"after": str(after)})
        except StoreBehind:
            return None
        return None if answer.status_code == 404 else _outcome(answer.json())

    async def message(self, session: str, agent: str, event_id: str) -> str | None:
        """The text, taken as the store is if that has it."""
        asked = {"session": session, "agent": agent, "id": event_id}
        for query in ({"consistency": "any"}, {}):
            answer = await self._ask("POST", "/api/turns/message", query, json=asked)
            if (row := _found(answer)["message"]) is not None:
                return row["content"]
        return None

    async def keeps_key(
        self,
        former: str,
        *,
        channel: str | None,
        room: str | None,
        sender: str | None,
        by_room: bool,
    ) -> bool:
        """Whether the store has or had that session, as of now."""
        who: dict[str, str | None] = {} if by_room else {"sender": sender}
        body = {"former": former, "channel": channel, "room": room, **who}
        return _found(await self._ask("POST", "/api/turns/keys", {}, json=body))["keep"]

    async def unanswered(self, *, limit: int, cursor: str | None, seconds: int) -> UnansweredPage:
        """A page of them, with all that is on the stream now."""
        body = {"limit": limit, "cursor": cursor, "seconds": seconds}
        found = _found(await self._ask("POST", "/api/turns/unanswered", {}, json=body))
        return UnansweredPage(
            [UnansweredMessage(**row) for row in found["messages"]],
            found["next_cursor"],
            Position.parse(found["position"]),
        )

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


def _found(answer: httpx.Response) -> dict[str, Any]:
    if answer.status_code == 404:
        raise ApiUnavailable("the api does not have the routes that turns need; is it older?")
    return answer.json()


def _refusal(answer: httpx.Response) -> Exception:
    problem: dict[str, Any] = {}
    with contextlib.suppress(ValueError):
        problem = answer.json()
    text: str = problem.get("error", f"the api answered {answer.status_code}")
    if problem.get("code") == "store_behind":
        return StoreBehind(text, lag=problem.get("lag"))
    if answer.status_code == 410:
        return PositionLost(text)
    if answer.status_code in (401, 403):
        text = f"{text}; give ingest a token of the scope serve: see its /readyz"
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
