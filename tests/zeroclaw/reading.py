"""Reads sources whole, sorted by kind of record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sessions.zeroclaw.finding import find_sources
from sessions.zeroclaw.values import (
    ForeignMessage,
    ForeignSession,
    ForeignSource,
    Remark,
    SetAside,
)


@dataclass
class Found:
    """What was read."""

    sessions: list[ForeignSession] = field(default_factory=list[ForeignSession])
    messages: list[ForeignMessage] = field(default_factory=list[ForeignMessage])
    aside: list[SetAside] = field(default_factory=list[SetAside])
    remarks: list[Remark] = field(default_factory=list[Remark])

    def texts(self, key: str) -> list[tuple[str, str]]:
        """Role and content of the messages of a session."""
        return [(each.role, each.content) for each in self.messages if each.key == key]

    @property
    def keys(self) -> list[str]:
        """The keys of the sessions, in order."""
        return [each.key for each in self.sessions]


def read(sources: Iterable[ForeignSource]) -> Found:
    """Read them to the end. Each session must come before its messages."""
    found = Found()
    known: set[str] = set()
    for source in sources:
        for record in source.read():
            match record:
                case ForeignSession():
                    assert record.key not in known
                    known.add(record.key)
                    found.sessions.append(record)
                case ForeignMessage():
                    assert record.key in known
                    found.messages.append(record)
                case SetAside():
                    found.aside.append(record)
                case Remark():
                    found.remarks.append(record)
    return found


def read_all(path: Path, scratch: Path) -> Found:
    """Find and read what there is."""
    scratch.mkdir(exist_ok=True)
    return read(find_sources(path, scratch))
