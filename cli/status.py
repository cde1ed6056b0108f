"""How the parts of a system are, each asked by itself: one that is away hides no other."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from cli.client import ApiClient
from cli.system import TargetSystem
from sessions import make_session_backend, times
from sessions.errors import SessionError
from sessions.models import Position, StreamCursor
from sessions.process.urls import redacted
from sessions.store.backend import SessionReader
from sessions.stream.turns import StreamFacts, TurnStream
from sessions.transfer.others import told_of_others


@dataclass(frozen=True)
class WebStatus:
    """The web process; `problem` says why it is not ready, `url` is None where none is known."""

    url: str | None
    ready: bool
    problem: str | None


@dataclass(frozen=True)
class StoreStatus:
    """The store as it is now; `leader` None means that nobody has the lease."""

    backend: str
    store_id: str | None
    leader: str | None
    lease_epoch: int
    position: str
    sessions: int
    messages: int
    dead_letters: int


@dataclass(frozen=True)
class StreamStatus:
    """The stream now. `backlog` is in entries, the age of its oldest in seconds, memory in bytes.

    `backlog` is None where Redis does not count, or where no store was found to compare with.
    `parked` and `undelivered` count replies that their platform has not taken.
    `accidents` says what happened to the stream behind the worker's back, and what it waits for.
    """

    last_id: str
    length: int
    backlog: int | None
    backlog_age: float | None
    memory_used: int
    memory_limit: int
    standbys: list[str]
    parked: int
    undelivered: int
    accidents: list[str]


@dataclass(frozen=True)
class Status:
    """All of it; a part that could not be asked is in `problems`, by its name.

    `others` has a sentence on each other store in the workspace.
    """

    web: WebStatus
    store: StoreStatus | None
    stream: StreamStatus | None
    problems: dict[str, str]
    others: list[str] = field(default_factory=list[str])

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return asdict(self)


async def look_at(system: TargetSystem) -> Status:
    """Ask every part; nothing that is away is an error."""
    problems: dict[str, str] = {}
    web = _web(system)
    settings = system.settings
    if not (system.is_local or system.is_bound) or not settings.workspace.is_dir():
        return Status(web, None, None, problems)
    store: StoreStatus | None = None
    cursor: StreamCursor | None = None
    async with make_session_backend(
        settings.workspace, settings.channels.session_backend
    ) as backend:
        try:
            cursor = await backend.cursor()
            store = await _store(backend, cursor)
        except SessionError as error:
            problems["store"] = str(error)
    others: list[str] = []
    try:
        others = await told_of_others(settings.workspace, settings.channels.session_backend)
    except SessionError as error:
        problems["other stores"] = str(error)
    try:
        return Status(web, store, await _stream_of(system, cursor), problems, others)
    except SessionError as error:
        return Status(web, store, None, {**problems, "stream": str(error)}, others)


def _web(system: TargetSystem) -> WebStatus:
    url = redacted(system.api_url) if system.api_url else None
    try:
        with ApiClient(system) as api:
            status, answer = api.readiness()
    except SessionError as error:
        return WebStatus(url, ready=False, problem=str(error))
    problem = answer.get("error") or answer.get("missing") or f"/readyz answers {status}"
    return WebStatus(url, ready=status == 200, problem=None if status == 200 else str(problem))


async def _store(reader: SessionReader, cursor: StreamCursor) -> StoreStatus:
    lease = await reader.lease()
    counts = await reader.counts()
    return StoreStatus(
        backend=reader.name,
        store_id=await reader.store_id(),
        leader=lease.holder,
        lease_epoch=lease.epoch,
        position=str(Position(cursor.epoch, cursor.applied)),
        sessions=counts["sessions"],
        messages=counts["messages"],
        dead_letters=counts["dead_letters"],
    )


async def _stream_of(system: TargetSystem, cursor: StreamCursor | None) -> StreamStatus:
    async with system.stream() as stream, system.replies() as replies:
        facts = await stream.facts()
        memory = await stream.memory()
        counts = await replies.counts()
        return StreamStatus(
            last_id=str(facts.last_id),
            length=facts.length,
            backlog=backlog(cursor, facts),
            backlog_age=await _age(stream, cursor),
            memory_used=memory.used,
            memory_limit=memory.limit,
            standbys=await stream.standbys(),
            parked=sum(count.parked for count in counts),
            undelivered=sum(count.undelivered for count in counts),
            accidents=_accidents(facts),
        )


def _accidents(facts: StreamFacts) -> list[str]:
    """What the leader has noted beside its claim."""
    noted: list[str] = []
    if trouble := facts.store.get("trouble"):
        noted.append(f"the worker waits: {trouble}")
    if regressed := facts.store.get("regressed"):
        noted.append(f"the stream went backwards: {regressed}")
    if (vanished := int(facts.store.get("vanished", 0))) > 0:
        noted.append(f"{vanished} entries vanished from the stream before they were read")
    return noted


def backlog(cursor: StreamCursor | None, facts: StreamFacts) -> int | None:
    """How many entries wait to be applied; None where that cannot be told."""
    if cursor is None:
        return None
    if cursor.epoch == facts.epoch and cursor.applied >= facts.newest_id:
        return 0
    if facts.added is None:
        return None
    return min(facts.length, max(0, facts.added - cursor.skipped - cursor.resolved))


async def _age(stream: TurnStream, cursor: StreamCursor | None) -> float | None:
    """Seconds since the oldest entry that waits was added, None where none does."""
    if cursor is None:
        return None
    waiting = await stream.read(cursor.applied, count=1, size=1)
    if not waiting:
        return None
    return max(0.0, times.now() / 1e6 - waiting[0].raw.stream_id.ms / 1e3)
