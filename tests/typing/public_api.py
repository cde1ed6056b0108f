"""The public types as a program uses them: the strict type checker reads this, nothing runs it.

A change that breaks a line here breaks the programs of others. `tests/docs/test_public_names.py`
sees that every public name stands here.
"""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import assert_type

from sessions import (
    AccessRefused,
    ConfigError,
    DeadLetter,
    DeclaredDead,
    Entry,
    Event,
    EventType,
    Fenced,
    InvalidEvent,
    InvalidRequest,
    LaneFull,
    LaneLost,
    LaneTimeout,
    Lease,
    LetterBounds,
    MemoryBackend,
    Message,
    Outcome,
    OutcomeKind,
    Page,
    Position,
    PositionLost,
    Reason,
    RedisClient,
    RedisRefused,
    Retryable,
    Routing,
    Scope,
    SearchHit,
    SearchInterrupted,
    Session,
    SessionBackend,
    SessionError,
    SessionFilter,
    SessionReader,
    SessionWriter,
    Settings,
    ShareFull,
    StoreBehind,
    StoreDamaged,
    StoreMismatch,
    StoreMoved,
    StoreTooNew,
    StoreUnavailable,
    StreamCursor,
    StreamFull,
    StreamId,
    StreamUnavailable,
    TurnStream,
    UnknownBackend,
    connect,
    load_settings,
    make_session_backend,
    new_id,
)


async def publishing(url: str) -> Position:
    """Publish an event."""
    redis = connect(url)
    assert_type(redis, RedisClient)
    async with aclosing(redis):
        stream = TurnStream(redis, url=url, prefix="turnstream:")
        event = Event(new_id(), EventType.APPEND, session="s", role="user", content="hello")
        assert_type(event.content, str | None)
        positions = await stream.publish([event])
        assert_type(positions, list[Position])
        assert_type(positions[0].stream_id, StreamId)
        return Position.parse(str(positions[0]))


async def reading(reader: SessionReader) -> None:
    """Ask a store everything."""
    sessions = await reader.sessions(scope=Scope("main"), where=SessionFilter(state="running"))
    assert_type(sessions, Page[Session])
    assert_type(sessions.next_cursor, str | None)
    assert_type(await reader.session("s"), Session | None)
    assert_type(await reader.history("s", limit=5), Page[Message])
    assert_type((await reader.search("hello")).items, list[SearchHit])
    assert_type(await reader.routing_of("s"), Routing | None)
    assert_type(await reader.dead_letters(), Page[DeadLetter])
    assert_type(await reader.lease(), Lease)
    outcome = await reader.outcome("e1")
    assert_type(outcome, Outcome | None)
    if outcome is not None:
        assert_type(outcome.outcome, OutcomeKind)
        assert_type(outcome.reason == Reason.RESET, bool)


async def writing(writer: SessionWriter, entries: list[Entry]) -> None:
    """Lead a store."""
    assert_type(await writer.acquire("worker", seen=None), Lease | None)
    assert_type(await writer.begin_epoch(skipped=0), StreamCursor)
    assert_type(await writer.apply(entries), StreamCursor)


def backends(workspace: Path) -> tuple[SessionBackend, SessionBackend]:
    """Make a backend of the settings, and one for tests."""
    settings = load_settings(None, {})
    assert_type(settings, Settings)
    name = settings.channels.session_backend
    store = make_session_backend(workspace, name, mode="read", bounds=LetterBounds(count=10))
    assert_type(store, SessionBackend)
    return store, MemoryBackend()


def retrying(error: SessionError) -> float | None:
    """Tell what passes from what does not."""
    match error:
        case InvalidEvent():
            assert_type(error.reason, str)
            assert_type(error.field, str | None)
        case AccessRefused():
            assert_type(error.code, str)
        case StoreBehind():
            assert_type(error.lag, int | None)
        case ShareFull():
            assert_type(error.waiting, int)
        case LaneFull():
            assert_type(error.pending, int)
        case Retryable():
            return assert_type(error.retry_after, float)
        case _:
            return None
    return None


# Errors that pass are caught by one name, and so are those of the settings.
PASSING: tuple[type[Retryable], ...] = (
    LaneFull,
    LaneTimeout,
    ShareFull,
    StoreBehind,
    StoreUnavailable,
    StreamFull,
    StreamUnavailable,
)
CONFIGURED: tuple[type[ConfigError], ...] = (
    RedisRefused,
    StoreMismatch,
    StoreMoved,
    StoreTooNew,
    UnknownBackend,
)
OTHERS: tuple[type[SessionError], ...] = (
    DeclaredDead,
    Fenced,
    InvalidRequest,
    LaneLost,
    PositionLost,
    SearchInterrupted,
    StoreDamaged,
)
