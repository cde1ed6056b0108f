"""Which place holds a session, if there are several of its key.

ZeroClaw moves a JSONL file into sessions.db by renaming it to `.importing`, then to `.migrated`. It
moves what is idle for a week into `archive`, where it finds it no more. A crash, or a change of
backend back and forth, leaves several. The first in the order of `FileStage` is read. Another one
is history if it has the beginning of the same; else it is set aside, because two histories cannot
be mixed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, IntEnum
from functools import cached_property
from itertools import zip_longest
from typing import Final, NamedTuple

from sessions.zeroclaw.database import DATABASE, JsonlReceipt, SessionDatabase
from sessions.zeroclaw.files import JsonlFile
from sessions.zeroclaw.sources import Digested, Tally
from sessions.zeroclaw.values import Fingerprint, Format, Record, Remark, SetAside

SUFFIX: Final = ".jsonl"


class FileStage(IntEnum):
    """How far a file is on its way; the lower one counts more. The database is before all."""

    LIVE = 0
    STAGED = 1
    MIGRATED = 2
    ARCHIVED = 3
    ARCHIVED_MIGRATED = 4


class Claim(NamedTuple):
    """A file that may hold the session of a key. `name` is fit to be shown."""

    file: JsonlFile
    name: str
    stage: FileStage


class _Fate(Enum):
    READ = "read"
    HISTORY = "history"
    ASIDE = "set aside"


class _Verdict(NamedTuple):
    fate: _Fate
    why: str = ""


_READ: Final = _Verdict(_Fate.READ)


class KeyClaims:
    """All files of one key, judged together when the first of them is read.

    `key` is None for a name that is no text: no two of those belong together.
    """

    def __init__(
        self, key: str | None, claims: Iterable[Claim], database: SessionDatabase | None
    ) -> None:
        self.key = key
        self._claims = sorted(claims, key=lambda claim: claim.stage)
        self._database = database

    def sources(self) -> Sequence[FileSource]:
        """A source for each file."""
        return [FileSource(self, claim) for claim in self._claims]

    def verdict_of(self, claim: Claim) -> _Verdict:
        """What becomes of one of them."""
        return self._verdicts[claim.name]

    @cached_property
    def _verdicts(self) -> dict[str, _Verdict]:
        found: dict[str, _Verdict] = {}
        holder: Claim | None = None
        for claim in self._claims:
            verdict = found[claim.name] = self._judged(claim, holder)
            if verdict.fate is _Fate.READ:
                holder = claim
        return found

    def _judged(self, claim: Claim, holder: Claim | None) -> _Verdict:
        if claim.file.problem is not None:
            return _Verdict(_Fate.ASIDE, claim.file.problem)
        if self.key is None:
            return _Verdict(_Fate.ASIDE, "its name is not UTF-8, so it is no key")
        if self._database is not None:
            if self._has_receipt(claim, self.key, self._database):
                return _Verdict(_Fate.HISTORY, f"ZeroClaw has imported it into {DATABASE}")
            if self.key in self._database.keys:
                return _compared(claim, self._database.messages_of(self.key), DATABASE)
        if holder is not None:
            return _compared(claim, holder.file.messages(), holder.name)
        return _READ

    def _has_receipt(self, claim: Claim, key: str, database: SessionDatabase) -> bool:
        receipt = database.receipts.get(f"{key}{SUFFIX}")
        if receipt is None or receipt.size != claim.file.fingerprint.size:
            return False
        tally = Tally()
        claim.file.whole(tally)
        return receipt == JsonlReceipt(key, tally.digest, tally.size)


class FileSource(Digested):
    """One JSONL file, read if it is the one that holds its session. See `ForeignSource`."""

    def __init__(self, claims: KeyClaims, claim: Claim) -> None:
        super().__init__()
        self.path = claim.file.path
        self.name = claim.name
        self.kind: Format = "jsonl"
        self.fingerprint: Fingerprint = claim.file.fingerprint
        self._claims = claims
        self._claim = claim

    def read(self) -> Iterator[Record]:
        """See `ForeignSource.read`."""
        verdict, tally = self._claims.verdict_of(self._claim), Tally()
        if verdict.fate is _Fate.READ and self._claims.key is not None:
            yield from self._claim.file.records(self._claims.key, self.name, tally)
        else:
            yield self._passed_over(verdict, tally)
        self.finish(tally.digest, tally.size)

    def _passed_over(self, verdict: _Verdict, tally: Tally) -> Record:
        data = b"" if self._claim.file.problem else self._claim.file.whole(tally)
        if verdict.fate is _Fate.HISTORY:
            return Remark(self.name, "file", f"{verdict.why}, so it was skipped")
        return SetAside(self.name, "file", verdict.why, data, tally.size)


def _compared(claim: Claim, held: Iterable[tuple[object, object]], holder: str) -> _Verdict:
    pairs = zip_longest(claim.file.messages(), held)
    if all(own is None or own == other for own, other in pairs):
        return _Verdict(_Fate.HISTORY, f"{holder} has all its messages")
    return _Verdict(
        _Fate.ASIDE, f"{holder} has a session of this key with other messages; they are not mixed"
    )
