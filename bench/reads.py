"""Whether reads cost what they return: the same page from a small store and from a large one."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from sessions import SessionBackend, make_session_backend, wire
from sessions.models import Entry, RawEntry, StreamId

# Calls of each read; the median is reported.
_CALLS: Final = 200
_BATCH: Final = 1000
LONG_SESSION: Final = 50_000
MANY_SESSIONS: Final = 100_000
# Sessions, and turns of the long one, in the small store.
_FEW: Final = 100


@dataclass(frozen=True)
class ReadTiming:
    """One kind of read, in milliseconds a call."""

    what: str
    small: float
    large: float

    @property
    def ratio(self) -> float:
        """How much more the large store costs."""
        return self.large / self.small


async def measure(folder: Path) -> list[ReadTiming]:
    """Time each read on both stores."""
    small = await _times(folder / "small", _FEW, _FEW)
    large = await _times(folder / "large", MANY_SESSIONS, LONG_SESSION)
    return [ReadTiming(what, small[what], large[what]) for what in small]


async def _times(workspace: Path, sessions: int, long: int) -> dict[str, float]:
    async with make_session_backend(workspace, "sqlite", mode="write") as store:
        await store.acquire("bench", seen=None)
        await store.begin_epoch(skipped=0)
        pending: list[Entry] = []
        for entry in _entries(sessions, long):
            pending.append(entry)
            if len(pending) == _BATCH:
                await store.apply(pending)
                pending.clear()
        await store.apply(pending)
    async with make_session_backend(workspace, "sqlite") as store:
        return {what: await _median(call) for what, call in _reads(store).items()}


def _reads(store: SessionBackend) -> dict[str, Callable[[], Awaitable[Any]]]:
    return {
        "history, last 20 of the long session": lambda: store.history("long", limit=20),
        "list of 50 sessions": lambda: store.sessions(limit=50),
        "one session by its key": lambda: store.session("s0000001"),
        "search, newest 20 hits of a common word": lambda: store.search("hello", limit=20),
        "search, one rare CJK word": lambda: store.search("東京", limit=20),
    }


async def _median(call: Callable[[], Awaitable[Any]]) -> float:
    taken: list[float] = []
    for _ in range(_CALLS):
        began = time.perf_counter()
        await call()
        taken.append(1000 * (time.perf_counter() - began))
    return median(taken)


def _entries(sessions: int, long: int) -> Iterator[Entry]:
    for number in range(sessions):
        text = "東京 for two" if number == sessions // 2 else f"hello number {number}"
        yield _append(number + 1, f"s{number:07d}", text)
    for number in range(long):
        yield _append(sessions + number + 1, "long", f"hello again {number}")


def _append(number: int, session: str, content: str) -> Entry:
    fields = {
        "v": "1",
        "id": f"bench-{number:08d}",
        "type": "append",
        "session": session,
        "role": "user",
        "content": content,
    }
    raw = [text.encode() for pair in fields.items() for text in pair]
    return wire.decode(RawEntry(StreamId(number, 0), raw))
