"""Compares a store with a file of turns, session by session, in order.

A stored message is taken for a turn of the file by its event id, if it was published by `replay`,
else by role and content. What the store holds beyond the file is counted, but is no fault.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from cli.stores.turnfile import Turn, TurnFile
from sessions.models import Message
from sessions.store.backend import SessionReader

FAULTS: Final = ("lost", "duplicated", "reordered", "changed")
# Examples that are kept of what was found.
EXAMPLES: Final = 20
# Sessions that are read at a time: as many as a store has readers.
_READERS: Final = 4
# Messages in a page, the most that a page may have.
PAGE: Final = 1000


class Difference(NamedTuple):
    """One difference: what, in which session, and where: the file's line, the message's number."""

    kind: str
    session: str
    line: int | None
    seq: int | None
    id: str


@dataclass
class Comparison:
    """What a comparison found."""

    sessions: int = 0
    turns: int = 0
    counts: Counter[str] = field(default_factory=Counter[str])
    examples: list[Difference] = field(default_factory=list[Difference])

    @property
    def agrees(self) -> bool:
        """Whether nothing is lost, duplicated, reordered or changed."""
        return not any(self.counts[kind] for kind in FAULTS)

    def add(self, turns: int, findings: Iterable[Difference]) -> None:
        """Take in a compared session."""
        self.sessions += 1
        self.turns += turns
        for finding in findings:
            self.counts[finding.kind] += 1
            if finding.kind in FAULTS and len(self.examples) < EXAMPLES:
                self.examples.append(finding)


class MessageSource(Protocol):
    """Where the stored messages come from: the store itself or the API."""

    async def of(self, session: str) -> list[Message]:
        """All messages of a session, in order; none where there is no such session."""
        ...


class StoredMessages:
    """The messages of a store that was opened for reading."""

    def __init__(self, reader: SessionReader) -> None:
        self._reader = reader

    async def of(self, session: str) -> list[Message]:
        """All messages of a session, read page by page from the newest."""
        pages: list[list[Message]] = []
        cursor: str | None = None
        while True:
            page = await self._reader.history(session, limit=PAGE, cursor=cursor)
            pages.append(page.items)
            cursor = page.next_cursor
            if cursor is None:
                return [message for items in reversed(pages) for message in items]


async def compare(
    file: TurnFile, messages: MessageSource, on_progress: Callable[[int], None] = lambda turns: None
) -> Comparison:
    """Compare every session of the file with the store."""
    report = Comparison()
    waiting = iter(file.sessions)

    async def work() -> None:
        for session in waiting:
            turns = list(file.of(session))
            report.add(len(turns), differences(turns, await messages.of(session)))
            on_progress(report.turns)

    async with asyncio.TaskGroup() as group:
        for _ in range(_READERS):
            group.create_task(work())
    return report


def differences(turns: Sequence[Turn], stored: Sequence[Message]) -> Iterator[Difference]:
    """How the stored messages of one session differ from its turns."""
    if [(turn.id, turn.role, turn.content) for turn in turns] == [
        (message.id, message.role, message.content) for message in stored
    ]:
        return
    places = _places(turns, stored)
    kept = [place for place in places if place is not None]
    for place in sorted(set(range(len(turns))) - set(kept)):
        yield _finding("lost", turns[place], None)
    yield from _surplus(
        turns, [m for m, place in zip(stored, places, strict=True) if place is None]
    )
    in_order = _in_order(kept)
    for message, place in zip(stored, places, strict=True):
        if place is None:
            continue
        if (message.role, message.content) != (turns[place].role, turns[place].content):
            yield _finding("changed", turns[place], message)
        if place not in in_order:
            yield _finding("reordered", turns[place], message)


def _surplus(turns: Sequence[Turn], messages: Iterable[Message]) -> Iterator[Difference]:
    """What is stored beyond the turns: again, or something else."""
    ids = {turn.id for turn in turns}
    texts = {(turn.role, turn.content) for turn in turns}
    for message in messages:
        again = message.id in ids or (message.role, message.content) in texts
        kind = "duplicated" if again else "added"
        yield Difference(kind, turns[0].session, None, message.seq, message.id)


def _finding(kind: str, turn: Turn, message: Message | None) -> Difference:
    seq = None if message is None else message.seq
    return Difference(kind, turn.session, turn.line, seq, turn.id)


def _places(turns: Sequence[Turn], stored: Sequence[Message]) -> list[int | None]:
    """For each stored message the turn that it is, by id where it has one, else by its text."""
    by_id = {turn.id: place for place, turn in enumerate(turns)}
    places = [by_id.pop(message.id, None) for message in stored]
    free: defaultdict[tuple[str, str], deque[int]] = defaultdict(deque)
    for place in sorted(by_id.values()):
        free[turns[place].role, turns[place].content].append(place)
    known = {turn.id for turn in turns}
    for number, message in enumerate(stored):
        same = free.get((message.role, message.content))
        if places[number] is None and same and message.id not in known:
            places[number] = same.popleft()
    return places


def _in_order(places: Sequence[int]) -> set[int]:
    """The longest part of the places that is in order; the others are the ones that moved."""
    ends: list[int] = []  # the smallest last place of a run of each length
    before: dict[int, int | None] = {}
    for place in places:
        length = bisect_left(ends, place)
        before[place] = ends[length - 1] if length else None
        ends[length : length + 1] = [place]
    run: set[int] = set()
    place = ends[-1] if ends else None
    while place is not None:
        run.add(place)
        place = before[place]
    return run
