"""One client's conversation: its frames in, its session's turns out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from ingest.agents.base import Agent
from ingest.gateway import frames
from ingest.gateway.frames import (
    Approval,
    Connect,
    Heard,
    InvalidFrame,
    MessageFrame,
    QueueFrame,
    RemoveFrame,
    UnknownFrame,
)
from ingest.gateway.outbox import Outbox
from ingest.gateway.queue import answer
from ingest.prompt import HISTORY
from ingest.reads import TurnReads
from ingest.turns.live import Ending, LiveTurn, TurnEnd
from ingest.turns.queue import TurnQueue
from ingest.turns.stored import REMOVED_CODE, find_end
from ingest.turns.unavailable import CODE, refusal_text
from sessions import times
from sessions.errors import (
    PositionLost,
    RedisRefused,
    Retryable,
)
from sessions.ids import derived_id, new_id
from sessions.process.tasks import TaskWatcher, log_failure
from sessions.stream.lanes.inbound import Inbound
from sessions.stream.lanes.values import RunningTurn, lane_of
from sessions.stream.notices import Notice
from sessions.text import display_id

log = logging.getLogger(__name__)

# Messages that a client may send at once, and how many of them come back in a second.
BURST: Final = 20.0
RATE: Final = 5.0
# Seconds between two looks at a turn that another replica runs.
_FOLLOW: Final = 0.5
# Seconds that such a turn may be nowhere to be seen before its client is told: it may wait for
# the turns before it, or for a dead replica to be noticed.
_NOWHERE: Final = 45.0
_NO_REPLY: Final = "The message got no reply; send it again"


class ChatPlace(NamedTuple):
    """Where the sessions of chats are: `reads` has them, and `stored` says whether others do."""

    reads: TurnReads
    stored: bool


@dataclass(frozen=True, slots=True)
class SessionSnapshot:
    """What the store says of the session when a client connects.

    `available` is false where it is not the agent's, and where the store could not say.
    """

    messages: int
    name: str | None
    available: bool = True


class Chat:
    """A connected client. It may leave at any time: its turns go on without it."""

    def __init__(
        self,
        session_id: str,
        alias: str,
        *,
        queue: TurnQueue,
        place: ChatPlace,
        agents: Mapping[str, Agent],
    ) -> None:
        self.key = f"gw_{session_id}"
        self._lane = lane_of(self.key, alias)
        self._available = False
        self.outbox = Outbox()
        self._resumed: str | None = None
        self._alias = alias
        self._queue = queue
        self._place = place
        self._agents = agents
        self._allowance = RateLimiter()
        self._welcomed = False
        self._following = TaskWatcher(self._lost)

    async def run(self, texts: AsyncIterator[str], known: SessionSnapshot) -> None:
        """Serve the client until its frames end, or until it has to go."""
        self._available = known.available
        async with self._following:
            await self._welcome(known)
            if await self._first(texts, known):
                async for text in texts:
                    await self._later(frames.read(text))

    def show(self, notice: Notice) -> None:
        """Tell the client of a message from outside, if it is of this session and agent."""
        mine = (notice.session, notice.agent) == (self.key, self._alias)
        # Of a turn that ran when it came, the client sees the rest as of its own.
        resumed = notice.turn is not None and notice.turn == self._resumed
        if self._welcomed and mine and not resumed:
            self.outbox.put(frames.message(display_id(self.key), notice))

    async def _welcome(self, known: SessionSnapshot) -> None:
        # Looked for in any case, so that every new session costs the same.
        running = await self._find_running()
        if not known.available:
            running = None
        frame: frames.Frame = {
            "type": "session_start",
            "session_id": display_id(self.key),
            "resumed": known.messages > 0,
            "message_count": known.messages,
        }
        if known.name:
            frame["name"] = known.name
        if running is not None:
            frame |= {"state": "running", "turn_id": running.turn}
        self.outbox.put(frame)
        self._welcomed = True
        if running is not None:
            self._resume(running)

    async def _find_running(self) -> RunningTurn | None:
        try:
            return await self._queue.lanes.at_work(self._lane)
        except (Retryable, RedisRefused):
            return None

    def _resume(self, running: RunningTurn) -> None:
        """Let the client see the rest of a turn that was running when it came."""
        self._resumed = running.turn
        turn = self._queue.running(self._lane)
        if turn is None or turn.inbound.id != running.turn:
            self._follow(self._tell_of_other([running.turn], in_lane=True))
            return
        if turn.said:
            self.outbox.chunk(turn.said)
        self._attend(turn)

    # -- frames ------------------------------------------------------------------------------

    async def _first(self, texts: AsyncIterator[str], known: SessionSnapshot) -> bool:
        """The first frame, for which clients know rules of its own; False ends the connection."""
        text = await anext(texts, None)
        if text is None:
            return False
        heard = frames.read(text)
        if isinstance(heard, Connect):
            self.outbox.put({"type": "connected", "message": "Connection established"})
        if known.messages > HISTORY:
            await self._tell_of_trimming(known)
        if isinstance(heard, InvalidFrame):
            self.outbox.put(frames.error(frames.INVALID_JSON))
        elif isinstance(heard, UnknownFrame | Approval):
            kind = heard.type if isinstance(heard, UnknownFrame) else "approval_response"
            self.outbox.put(frames.unknown_type(kind))
        elif isinstance(heard, QueueFrame | RemoveFrame):
            await self._tell_of_queue(heard)
        elif isinstance(heard, MessageFrame) and heard.content:
            return await self._take(heard)
        return True

    async def _tell_of_trimming(self, known: SessionSnapshot) -> None:
        try:
            kept = (await self._place.reads.history(self.key, self._alias)).messages
        except Retryable:
            return
        self.outbox.put(
            {
                "type": "history_trimmed",
                "dropped_messages": known.messages - len(kept),
                "kept_turns": sum(said.role == "user" for said in kept),
                "reason": f"the agent reads the last {HISTORY} messages",
            }
        )

    async def _later(self, heard: Heard) -> None:
        busy = self._queue.running(self._lane) is not None
        if isinstance(heard, MessageFrame) and not heard.content:
            self.outbox.put(frames.error(frames.EMPTY, "EMPTY_CONTENT"))
        elif isinstance(heard, MessageFrame | QueueFrame | RemoveFrame):
            if not self._allowance.try_acquire():
                self.outbox.put(frames.error("Too many messages; slow down", "RATE_LIMITED"))
            elif isinstance(heard, MessageFrame):
                await self._take(heard)
            else:
                await self._tell_of_queue(heard)
        elif isinstance(heard, InvalidFrame):
            text = frames.INVALID_JSON if busy else f"Invalid JSON: {heard.problem}"
            self.outbox.put(frames.error(text, "INVALID_JSON"))
        elif isinstance(heard, Approval):
            self._answer_approval(heard, busy=busy)
        elif not busy:
            kind = heard.type if isinstance(heard, UnknownFrame) else "connect"
            self.outbox.put(frames.unknown_type(kind, "UNKNOWN_MESSAGE_TYPE"))

    def _answer_approval(self, heard: Approval, *, busy: bool) -> None:
        if heard.valid and heard.sop:
            self.outbox.put(frames.error("There are no procedures here", "SOP_DISABLED"))
        elif not heard.valid and not busy:
            text = frames.INVALID_APPROVAL
            self.outbox.put(frames.error(text, "INVALID_APPROVAL_RESPONSE"))

    async def _tell_of_queue(self, asked: QueueFrame | RemoveFrame) -> None:
        queues = self._queue.lanes.queues
        self.outbox.put(await answer(asked, queues, self.key, self._alias))

    async def _take(self, message: MessageFrame) -> bool:
        """Put a message into the session's lane; False where the client has to go."""
        try:
            problem = await self._problem()
            if problem is not None:
                self.outbox.put(problem)
                return True
            turn = await self._queue.accept(self._inbound(message), attended=True)
        except (Retryable, RedisRefused) as error:
            self.outbox.put(frames.refusal(error))
            return False
        except Exception:
            # Whatever it is, the client waits for an answer.
            log.exception("a message was not taken")
            self.outbox.put(frames.error("The message was not taken; send it again", "AGENT_ERROR"))
            return False
        self._attend(turn)
        return True

    async def _problem(self) -> frames.Frame | None:
        """Why the session cannot be used, None if it can; asked again as long as it cannot."""
        if self._available:
            return None
        try:
            found = await self._place.reads.history(self.key, self._alias, limit=1, fresh=True)
        except Retryable as error:
            return frames.refusal(error)
        self._available = found.available
        return None if found.available else frames.error(refusal_text(display_id(self.key)), CODE)

    def _inbound(self, message: MessageFrame) -> Inbound:
        turn, former = new_id(), ""
        if message.id:
            turn = derived_id("gw", "agent", self._alias, self.key, message.id)
            # A version before ids had agents called the same message so.
            former = derived_id("gw", self.key, message.id)
        return Inbound(
            *(turn, self.key, message.content, self._alias, times.now()),
            former=former,
            stored=self._place.stored,
        )

    # -- turns -------------------------------------------------------------------------------

    def _attend(self, turn: LiveTurn) -> None:
        turn.progress.listeners.add(self.outbox)
        self._follow(self._tell_of_end(turn))

    def _follow(self, work: Coroutine[Any, Any, None]) -> None:
        self._following.start(work, f"follow {self.key!r}")

    def _lost(self, name: str, error: BaseException) -> None:
        """The turn's end cannot be followed: its client must not wait for it."""
        log_failure(name, error)
        self.outbox.put(frames.error(_NO_REPLY, "AGENT_ERROR"))

    async def _tell_of_end(self, turn: LiveTurn) -> None:
        try:
            end = await asyncio.shield(turn.end)
        finally:
            turn.progress.listeners.discard(self.outbox)
        if end.ending in (Ending.ELSEWHERE, Ending.LEFT):
            await self._tell_of_other([turn.inbound.id, turn.inbound.former])
        else:
            self._tell(end, turn.inbound.id)

    def _tell(self, end: TurnEnd, turn: str) -> None:
        if end.code == CODE:
            self._available = False
        if end.ending is Ending.REPLIED:
            agent = self._agents.get(self._alias)
            self.outbox.put(frames.done(end.text, end.reply, agent))
        elif end.ending is Ending.ABORTED:
            self.outbox.put({"type": "aborted"})
        else:
            removed = {"id": turn} if end.code == REMOVED_CODE else {}
            self.outbox.put({**frames.error(end.text, end.code), **removed})

    async def _tell_of_other(self, turns: Sequence[str], *, in_lane: bool = False) -> None:
        """Wait for the end of a turn that is not run here, and tell how the store shows it.

        `turns` are the ids that it may have, the one of this version first. After a replica's
        death hundreds may wait so: as long as a message is in its lane, the api is left in peace.
        """
        nowhere, whose = 0.0, (self.key, self._alias)
        while nowhere < _NOWHERE:
            try:
                end = None if in_lane else await find_end(self._place.reads, *whose, turns)
                in_lane = await self._queue.lanes.contains(self._lane, turns[0])
            except (Retryable, PositionLost):
                await asyncio.sleep(_FOLLOW)
                continue
            if end is not None:
                self._tell(end, turns[0])
                return
            nowhere = 0.0 if in_lane else nowhere + _FOLLOW
            await asyncio.sleep(_FOLLOW)
        self.outbox.put(frames.error(_NO_REPLY, "AGENT_ERROR"))


class RateLimiter:
    """How many messages a client may still send now."""

    def __init__(self) -> None:
        self._left = BURST
        self._at = asyncio.get_running_loop().time()

    def try_acquire(self) -> bool:
        """Use one up; False where none is left."""
        now = asyncio.get_running_loop().time()
        self._left = min(BURST, self._left + (now - self._at) * RATE)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
