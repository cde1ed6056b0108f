"""Brings the sessions of a ZeroClaw workspace into a store.

A message's id is derived from what it is: its session, its text, and how often that text came
before in the session. So the same message comes in once, whether it is read from a JSONL file or
from the database into which ZeroClaw has moved that file, and however often it is read.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sessions import times
from sessions.errors import ConfigError
from sessions.ids import derived_id
from sessions.process.durable import sync
from sessions.process.private import make_private_directory
from sessions.process.retry import Reminder
from sessions.store.engine.imported import ImportedMessage, ImportedSession
from sessions.store.engine.receipts import Receipt
from sessions.transfer.report import Advance, SourceReport
from sessions.transfer.restoring import IS_THERE, WAS_DELETED, TransferableBackend
from sessions.wire.fields import MAX_SESSION
from sessions.zeroclaw.values import (
    ForeignMessage,
    ForeignSession,
    ForeignSource,
    Record,
    Remark,
    SetAside,
)

# The beginning of the ids of imported messages.
ORIGIN: Final = "zeroclaw"
# What one transaction takes in: so many records, or characters of text.
_RECORDS: Final = 5000
_TEXT: Final = 16 * 1024 * 1024

# Seconds within which a leader shows that it lives, however long it reads and finds nothing new.
_RENEWAL: Final = 2.0

DELETED_SINCE: Final = "it was imported before, and deleted here since"
OTHER_HISTORY: Final = (
    "a session of this key came from elsewhere and begins otherwise; import into a workspace of "
    "its own"
)
_BAD_KEY: Final = f"its key must be 1 to {MAX_SESSION} bytes long"
_STATES: Final = frozenset({"idle", "running", "error"})


@dataclass(slots=True)
class _Batch:
    sessions: list[ImportedSession] = field(default_factory=list[ImportedSession])
    messages: list[ImportedMessage] = field(default_factory=list[ImportedMessage])
    receipts: list[Receipt] = field(default_factory=list[Receipt])
    text: int = 0

    @property
    def is_full(self) -> bool:
        return len(self.messages) + len(self.sessions) >= _RECORDS or self.text > _TEXT


class ZeroClawImport:
    """The import of one workspace. `workspace` is ours: receipts name sources below it by that."""

    def __init__(
        self,
        backend: TransferableBackend,
        workspace: Path,
        *,
        advance: Advance,
        dry_run: bool = False,
    ) -> None:
        self._backend = backend
        self._workspace = workspace
        self._advance = advance
        self._dry_run = dry_run
        self._life = Reminder(_RENEWAL)

    async def run(self, source: ForeignSource) -> SourceReport:
        """Bring in one source; does nothing if it has not changed since it came in."""
        await self._show_life()
        name = self._name(source.path)
        report = SourceReport(name, source.kind)
        receipts = {one.session: one for one in await self._backend.receipts(name)}
        fingerprint = json.dumps(source.fingerprint)
        whole = receipts.get("")
        if whole is not None and whole.digest and whole.detail == fingerprint:
            report.unchanged = True
            report.known, report.aside = whole.messages, whole.aside
            return report
        intake = _Intake(self._backend, name, source.kind, report, known={*receipts} - {""})
        kept = _KeptAside(self._workspace, name)
        last = await self._take(intake, kept, source.read())
        if not self._dry_run:
            report.kept_in = kept.write()
            # A session that is refused may come in once its key is free: it is looked at again.
            settled = "" if intake.may_come_later else fingerprint
            last.receipts.append(intake.receipt("", detail=settled, of=source))
        await self._write(intake, last)
        return report

    async def _take(self, intake: _Intake, kept: _KeptAside, records: Iterable[Record]) -> _Batch:
        """Bring in all but the last batch, which is given back."""
        batch = _Batch()
        for record in records:
            await self._show_life()
            if batch.is_full:
                await self._write(intake, batch)
                batch = _Batch()
            match record:
                case ForeignSession():
                    await intake.session(record, batch)
                case ForeignMessage():
                    await intake.message(record, batch)
                case SetAside():
                    intake.report.set_aside(record.place, record.reason)
                    kept.add(record)
                case Remark():
                    intake.report.remark(f"{record.place}: {record.text}")
        return batch

    async def _show_life(self) -> None:
        """Renew the lease if it is time: a standby would take a silent leader for dead."""
        if not self._dry_run and self._life.due():
            await self._backend.renew()

    async def _write(self, intake: _Intake, batch: _Batch) -> None:
        looked_at = len(batch.messages)
        if self._dry_run:
            added = await intake.unknown(batch.messages)
        else:
            added = await self._backend.bring_in(batch.sessions, batch.messages, batch.receipts)
        intake.report.messages += added
        intake.report.known += looked_at - added
        self._advance(looked_at)

    def _name(self, path: Path) -> str:
        absolute = path.absolute()
        if absolute.is_relative_to(self._workspace):
            return str(absolute.relative_to(self._workspace))
        return str(absolute)


class _Intake:
    """What of one source comes in: the fate of each session, and the ids of its messages."""

    def __init__(
        self,
        backend: TransferableBackend,
        name: str,
        kind: str,
        report: SourceReport,
        *,
        known: set[str],
    ) -> None:
        self._backend = backend
        self._name = name
        self._kind = kind
        self._known = known
        self._refused: dict[str, str] = {}
        # Sessions that are here from another source: their first message tells whether they are
        # the same.
        self._doubtful: dict[str, ForeignSession] = {}
        self._times: dict[str, Counter[int]] = {}
        self._taken = 0
        self.report = report

    @property
    def may_come_later(self) -> bool:
        """Whether a session was refused for what is in the store, not for what it is."""
        return not {_BAD_KEY, DELETED_SINCE}.issuperset(self._refused.values())

    async def session(self, record: ForeignSession, batch: _Batch) -> None:
        """Take a session in, or remember why not."""
        key = record.key
        self._times[key] = Counter()
        if not 0 < len(key.encode()) <= MAX_SESSION:
            self._refuse(key, _BAD_KEY)
            return
        routing = await self._backend.routing_of(key)
        is_here = routing is not None and routing.live
        came_in = bool(await self._backend.receipts_of(key))
        if is_here and key in self._known:
            self._admit(record, batch)
        elif came_in and is_here:
            self._doubtful[key] = record
        elif came_in:
            self._refuse(key, DELETED_SINCE)
        elif routing is not None:
            self._refuse(key, IS_THERE if is_here else WAS_DELETED)
        else:
            self._admit(record, batch)

    async def message(self, record: ForeignMessage, batch: _Batch) -> None:
        """Take a message in, unless its session stays out."""
        key, event_id = record.key, self._id(record)
        if key in self._doubtful:
            session = self._doubtful.pop(key)
            if await self._backend.outcome(event_id) is None:
                self._refuse(key, OTHER_HISTORY)
            else:
                self._admit(session, batch)
        if key in self._refused:
            self.report.set_aside(f"session {key}", self._refused[key])
            return
        self._taken += 1
        batch.text += len(record.content)
        batch.messages.append(
            ImportedMessage(
                *(key, event_id, record.role, record.content, record.created_at),
                record.time_text,
            )
        )

    def _admit(self, record: ForeignSession, batch: _Batch) -> None:
        if record.key not in self._known:
            self.report.sessions += 1
        batch.sessions.append(_imported(record))
        batch.receipts.append(self.receipt(record.key, detail=_times_of(record)))

    def _refuse(self, key: str, reason: str) -> None:
        self._refused[key] = reason
        self.report.set_aside(f"session {key}", reason, count=0)

    def _id(self, record: ForeignMessage) -> str:
        """The id of a message: of what it says, and how often that was said before."""
        # As JSON no two messages are one, whatever characters are in them.
        parts = json.dumps([ORIGIN, record.key, record.role, record.content], ensure_ascii=False)
        text = hashlib.sha256(parts.encode()).digest()
        seen = self._times[record.key]
        place = int.from_bytes(text[:8])
        seen[place] += 1
        return derived_id(ORIGIN, text.hex(), str(seen[place]))

    async def unknown(self, messages: Iterable[ImportedMessage]) -> int:
        """How many of these are not in the store."""
        return sum([await self._backend.outcome(one.id) is None for one in messages])

    def receipt(self, session: str, *, detail: str, of: ForeignSource | None = None) -> Receipt:
        """A receipt of this source; `of` the source if all of it was read."""
        digest, size = ("", 0) if of is None else (of.digest, of.size)
        counts = (0, 0) if of is None else (self._taken, self.report.aside)
        return Receipt(
            *(self._name, session, self._kind, digest, size, *counts), at=times.now(), detail=detail
        )


def _imported(record: ForeignSession) -> ImportedSession:
    """The session as ours; a state that we do not know is that of a session at rest."""
    values: dict[str, Any] = {name: getattr(record, name) for name in ImportedSession._fields}
    if record.state not in _STATES:
        values |= {"state": "idle", "turn": None, "state_since": None}
    return ImportedSession(**values)


def _times_of(record: ForeignSession) -> str:
    """The times of a session as its source writes them, for the way back."""
    texts = {
        "created_at": record.created_text,
        "last_activity": record.active_text,
        "state_since": record.since_text,
    }
    return json.dumps({name: text for name, text in texts.items() if text is not None})


class _KeptAside:
    """What was set aside of one source, kept word for word in a file of the workspace."""

    def __init__(self, workspace: Path, source: str) -> None:
        name = hashlib.sha256(source.encode()).hexdigest()[:16]
        self._path = workspace / "set-aside" / f"{name}.jsonl"
        self._records: list[SetAside] = []
        self._source = source

    def add(self, record: SetAside) -> None:
        """Keep a record."""
        self._records.append(record)

    def write(self) -> str | None:
        """Write the file, if there is anything to keep; where it is.

        Raises ConfigError if it cannot be written.
        """
        if not self._records:
            return None
        draft = self._path.with_suffix(f".{os.getpid()}.draft")
        try:
            make_private_directory(self._path.parent)
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.writelines(self._lines())
            sync(draft)
            os.replace(draft, self._path)
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be written: {error.strerror}") from error
        return str(self._path)

    def _lines(self) -> Iterator[bytes]:
        for one in self._records:
            fields: dict[str, Any] = {
                "source": self._source,
                "place": one.place,
                "reason": one.reason,
                "size": one.size,
            }
            try:
                fields["text"] = one.data.decode()
            except UnicodeDecodeError:
                fields["base64"] = base64.b64encode(one.data).decode()
            yield json.dumps(fields, ensure_ascii=False).encode() + b"\n"
