"""`{name}.meta.json` beside a session file: whose session it is, which its lines do not tell.

The index is right, and these files follow it: one that differs is written again when a worker takes
the lead. They matter once the index is lost. So they are written atomically, in step with the
transactions, but need no sync of their own. The state of a session is not in them: it changes with
every turn, and no turn runs on an index that was lost.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, cast

from sessions import times
from sessions.errors import StoreUnavailable
from sessions.store.engine.rows import SessionRow, columns

log = logging.getLogger(__name__)

# Runs one statement of the index, inside the writer's transaction.
Run = Callable[..., Awaitable[list[tuple[Any, ...]]]]
# Does blocking work on each item in threads.
Each = Callable[[Callable[[Any], None], Iterable[Any]], Awaitable[None]]

META: Final = ".meta.json"
_TEXTS: Final = ("name", "agent", "channel", "room", "sender")


@dataclass(frozen=True, slots=True)
class Meta:
    """A session as its meta file tells of it; `agent` is its owner."""

    session: str
    generation: int
    created_at: str
    name: str | None
    agent: str | None
    channel: str | None
    room: str | None
    sender: str | None

    @classmethod
    def of(cls, row: SessionRow) -> Meta:
        """What is to be written of a session."""
        told = {name: getattr(row, name) for name in _TEXTS}
        return cls(row.key, row.generation, times.render(row.created_at), **told)

    @classmethod
    def parse(cls, data: bytes) -> Meta | None:
        """What a meta file says; None for anything else than such a file."""
        try:
            value: object = json.loads(data)
        except (ValueError, RecursionError):
            return None
        if not isinstance(value, dict):
            return None
        found = cast("dict[str, Any]", value)
        given: dict[str, Any] = {field.name: found.get(field.name) for field in fields(cls)}
        return cls(**given) if _is_sound(given) else None

    def data(self) -> bytes:
        """The file."""
        return json.dumps(asdict(self), ensure_ascii=False).encode() + b"\n"


def _is_sound(given: dict[str, Any]) -> bool:
    try:
        times.parse(given["created_at"])
        "".join(given[name] or "" for name in ("session", *_TEXTS)).encode()
    except (TypeError, ValueError):
        return False
    generation = given["generation"]
    return bool(given["session"]) and type(generation) is int and 0 < generation < 2**62


class MetaFiles:
    """The meta files of one directory, by the names of their session files. Blocking."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def main(self, name: str) -> Path:
        """Where people find it."""
        return self._directory / f"{name}{META}"

    def draft(self, name: str) -> Path:
        """Where it waits until its transaction is committed."""
        return self._directory / f".{name}{META}.next"

    def names(self) -> Iterator[str]:
        """The names of those that there are, drafts too."""
        found = {path.name.removesuffix(META) for path in self._directory.glob(f"[!.]*{META}")}
        drafts = self._directory.glob(f".*{META}.next")
        found |= {path.name[1:].removesuffix(f"{META}.next") for path in drafts}
        yield from sorted(found)

    def prepare(self, name: str, meta: Meta) -> bool:
        """Write a draft; False, and no draft is left, if the file says that already."""
        if _read(self.main(name)) == meta.data():
            self.drop_draft(name)
            return False
        _write(self.draft(name), meta.data())
        return True

    def publish(self, name: str) -> None:
        """Let the draft take its place; again is no harm."""
        with contextlib.suppress(FileNotFoundError):
            os.replace(self.draft(name), self.main(name))

    def write(self, name: str, meta: Meta) -> None:
        """Make the file say this."""
        if self.prepare(name, meta):
            self.publish(name)

    def drop_draft(self, name: str) -> None:
        """Remove a draft whose transaction failed; nothing happens if there is none."""
        self.draft(name).unlink(missing_ok=True)

    def drop_drafts(self) -> None:
        """Remove all drafts: the index knows better."""
        for path in self._directory.glob(f".*{META}.next"):
            path.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove what is told of a deleted session."""
        self.main(name).unlink(missing_ok=True)
        self.drop_draft(name)

    def read(self, name: str) -> list[Meta]:
        """What the file and its draft say; nothing for what cannot be read."""
        told = [Meta.parse(_read(path)) for path in (self.main(name), self.draft(name))]
        return [meta for meta in told if meta is not None]


def _read(path: Path) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    with open(fd, "rb") as file:
        return file.read()


def _write(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    with open(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)


class MetaWriter:
    """The meta files as one writer keeps them in step with its transactions."""

    def __init__(self, directory: Path, run: Run, each: Each) -> None:
        self._files = MetaFiles(directory)
        self._run = run
        self._each = each
        # Sessions with a draft of the transaction in hand, and sessions whose file may be wrong
        # because nobody told how their transaction ended.
        self._drafted: dict[int, str] = {}
        self._doubtful: set[int] = set()

    async def draft(self, sessions: Sequence[tuple[str, SessionRow]]) -> None:
        """Draft the files, by their names, that say something else of these sessions."""

        def work(item: tuple[str, SessionRow]) -> None:
            name, session = item
            if self._files.prepare(name, Meta.of(session)):
                self._drafted[session.id] = name
            else:
                # What the transaction drafted before is not true any more.
                self._drafted.pop(session.id, None)

        await self._each(work, sessions)

    async def publish(self) -> None:
        """Let the drafts take their places: their transaction is committed."""
        drafted, self._drafted = self._drafted, {}
        await self._bravely(self._files.publish, drafted.values(), {*drafted})

    async def drop(self) -> None:
        """Remove the drafts: their transaction has failed."""
        await self._each(self._files.drop_draft, self._drafted.values())

    def forget(self) -> None:
        """The transaction has ended; what became of drafts that are left is looked up later."""
        self._doubtful |= self._drafted.keys()
        self._drafted.clear()

    async def remove(self, names: Sequence[str]) -> None:
        """Remove the files of deleted sessions."""
        await self._each(self._files.remove, names)

    async def resolve(self) -> None:
        """Write what is in doubt from what is committed. Nothing happens if nothing is."""
        if self._doubtful:
            chosen = json.dumps([*self._doubtful])
            await self._write("AND id IN (SELECT value FROM json_each(?))", (chosen,))

    async def recover(self) -> None:
        """Make all files say what the index says."""
        await self._each(lambda _: self._files.drop_drafts(), [None])
        await self._write("", ())

    async def _write(self, condition: str, parameters: tuple[str, ...]) -> None:
        names = "SELECT name FROM files WHERE session_id = id"
        found = await self._run(
            f"SELECT ({names}), {columns(SessionRow)} FROM sessions WHERE live {condition}",
            parameters,
        )
        live = {name: SessionRow(*row) for name, *row in found if name is not None}

        def work(name: str) -> None:
            self._files.write(name, Meta.of(live[name]))

        await self._bravely(work, live, {*self._doubtful, *(row.id for row in live.values())})

    async def _bravely(
        self, work: Callable[[str], None], names: Iterable[str], numbers: set[int]
    ) -> None:
        """Do it now if the disk can, else later: nobody waits for these files.

        The sessions are in doubt until it is done, so that what is cut short is done later too.
        """
        self._doubtful |= numbers
        try:
            await self._each(work, names)
        except StoreUnavailable as error:
            log.warning("meta files are written later: %s", error)
        else:
            self._doubtful -= numbers
