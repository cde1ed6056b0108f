"""Messages of people that nobody answers any more, as ingest asks for them when it starts.

A program that died in its turn, such as a ZeroClaw whose workspace was moved in, leaves a session
whose last message is a person's. The next prompt would take it for a part of the next question.
"""

from __future__ import annotations

from api.service import Service
from routing.described import Body
from sessions import times
from sessions.ids import stored_id
from sessions.models import Message, Session


class UnansweredRow(Body):
    """The last message of a session. `agent` answers there; `turn` is there if it opened one.

    Without `id` no message waits, and the session only says that a turn runs since then.
    """

    session: str
    agent: str
    id: str | None
    turn: str | None
    since: str | None


class UnansweredBody(Body):
    """A page of them. `position` is what the page stands on."""

    messages: list[UnansweredRow]
    next_cursor: str | None
    position: str


class Unanswered:
    """The unanswered messages of one store, in sessions that its agents have by a channel."""

    def __init__(self, service: Service, agents: frozenset[str]) -> None:
        self._service = service
        self._agents = agents

    async def page(
        self, *, limit: int, cursor: str | None, seconds: int
    ) -> tuple[list[UnansweredRow], str | None]:
        """Those in the next `limit` sessions, and where to go on.

        What was published within so many seconds is left out: its program may be about to
        answer. So is what another agent's token sent, which waits to be read. Raises InvalidRequest
        for a cursor that is not ours.
        """
        page = await self._service.backend.sessions(limit=limit, cursor=cursor)
        latest = times.now() - seconds * times.SECOND
        found = [await self._of(session, latest) for session in page.items]
        return [one for one in found if one is not None], page.next_cursor

    async def _of(self, session: Session, latest: int) -> UnansweredRow | None:
        agent = self._service.access.agent_of(session)
        runs = session.state == "running"
        if agent is None or agent not in self._agents or not (session.channel or runs):
            return None
        history = await self._service.backend.history(session.key, limit=1)
        last = history.items[-1] if history.items else None
        if last is not None and await self._published(last) > latest:
            return None
        if last is not None and last.role == "user" and last.by is None:
            return UnansweredRow(
                session=session.key, agent=agent, id=last.id, turn=last.turn, since=None
            )
        since = session.state_since or 0
        if not runs or since > latest:
            return None
        return UnansweredRow(
            session=session.key, agent=agent, id=None, turn=None, since=times.render(since)
        )

    async def _published(self, message: Message) -> int:
        """When it came onto the stream, by Redis' clock; 0 if it never was there.

        Its own time does not tell: a program may publish what was written long ago.
        """
        outcome = await self._service.backend.outcome(stored_id(message.id, message.by))
        return 0 if outcome is None else outcome.position.stream_id.ms * 1000
