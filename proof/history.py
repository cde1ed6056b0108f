"""What publishers did, as they saw it: one file for each publisher process, synced at every step.

A file is a list of JSON objects, one a line. `invoke` is written before an event is first sent and
has its fields; `ok` (with stream ids), `info` (nobody knows) or `fail` (certainly refused) follow,
for the operations that they name. What has neither `ok` nor `fail` may have happened or not. `read`
says whether a reader was shown an event that had been confirmed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

Fields = dict[str, str]

_READ: Final = "read"


class OperationStatus(StrEnum):
    """What a publisher knows of an operation of its."""

    ACCEPTED = "ok"
    UNKNOWN = "info"
    REFUSED = "fail"


@dataclass(frozen=True)
class Step:
    """An event to publish. `poison` is the reason for which the worker must bury it, if any."""

    fields: Fields
    poison: str | None = None

    @property
    def id(self) -> str:
        """The event id."""
        return self.fields["id"]

    @property
    def session(self) -> str:
        """The session key."""
        return self.fields["session"]


@dataclass
class Operation:
    """A step as it went."""

    step: Step
    known: OperationStatus = OperationStatus.UNKNOWN
    stream_id: str | None = None


@dataclass
class PublishedHistory:
    """All operations of all publishers, each session's in the order in which they were made.

    `stale` has the ids of confirmed events that a fresh read did not show.
    """

    sessions: dict[str, list[Operation]] = field(default_factory=dict[str, list[Operation]])
    reads: int = 0
    stale: list[str] = field(default_factory=list[str])

    @property
    def accepted(self) -> int:
        """How many operations Redis confirmed."""
        return sum(
            operation.known is OperationStatus.ACCEPTED
            for operations in self.sessions.values()
            for operation in operations
        )


class HistoryWriter:
    """Writes one publisher's file; each call returns when the disk has it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._next = 0

    @classmethod
    def create(cls, path: Path) -> Self:
        """Begin a new file; raises FileExistsError."""
        return cls(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    def invoke(self, steps: Sequence[Step]) -> list[int]:
        """Note that these steps are about to be sent; their numbers."""
        numbers = [*range(self._next, self._next + len(steps))]
        self._next += len(steps)
        self._write(
            {"what": "invoke", "op": number, "fields": step.fields, "poison": step.poison}
            for number, step in zip(numbers, steps, strict=True)
        )
        return numbers

    def accepted(self, numbers: Sequence[int], stream_ids: Sequence[str]) -> None:
        """Note that Redis confirmed them."""
        self._write([{"what": OperationStatus.ACCEPTED, "ops": numbers, "at": stream_ids}])

    def unknown(self, numbers: Sequence[int], why: str) -> None:
        """Note that a try ended without an answer."""
        self._write([{"what": OperationStatus.UNKNOWN, "ops": numbers, "why": why}])

    def refused(self, numbers: Sequence[int], why: str) -> None:
        """Note that they were certainly not taken."""
        self._write([{"what": OperationStatus.REFUSED, "ops": numbers, "why": why}])

    def read(self, event_id: str, *, shown: bool) -> None:
        """Note what a fresh read showed of a confirmed event."""
        self._write([{"what": _READ, "id": event_id, "shown": shown}])

    def _write(self, records: Iterable[dict[str, Any]]) -> None:
        moment = time.monotonic()
        lines = [json.dumps({**record, "t": moment}) + "\n" for record in records]
        os.write(self._fd, "".join(lines).encode())
        os.fdatasync(self._fd)


def read_histories(folder: Path) -> PublishedHistory:
    """What the publishers' files in the folder say; a torn last line counts as not written."""
    told = PublishedHistory()
    for path in sorted(folder.glob("*.jsonl")):
        _read(path, told)
    return told


def _read(path: Path, told: PublishedHistory) -> None:
    operations: dict[int, Operation] = {}
    for line in path.read_bytes().split(b"\n")[:-1]:
        record = json.loads(line)
        if record["what"] == _READ:
            told.reads += 1
            told.stale += [] if record["shown"] else [record["id"]]
            continue
        if record["what"] == "invoke":
            operation = Operation(Step(record["fields"], record["poison"]))
            operations[record["op"]] = operation
            told.sessions.setdefault(operation.step.session, []).append(operation)
            continue
        places = record.get("at") or [None] * len(record["ops"])
        for number, place in zip(record["ops"], places, strict=True):
            operations[number].known = OperationStatus(record["what"])
            operations[number].stream_id = place
