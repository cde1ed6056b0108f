"""Other stores in the workspace: what they hold must not go dark.

A store is not seen any more as soon as the settings name another backend. So before a process opens
one, it looks for the others. What they hold beyond it has to be moved, taken in, or left behind on
purpose, which is noted in the store, so that nobody asks again.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from sessions import times
from sessions.errors import ConfigError, StoreUnavailable
from sessions.process.settings import BACKENDS
from sessions.store.backend import SessionBackend, Transferable
from sessions.store.capabilities import Movable
from sessions.store.engine.receipts import Receipt
from sessions.store.factory import local_store, make_session_backend
from sessions.transfer.exporting import COPIED
from sessions.zeroclaw.finding import sources_in

log = logging.getLogger(__name__)

# The kind of receipt that says that a store was left behind on purpose.
LEFT: Final = "left"
_GO_ON: Final = (
    "run `turnstream move --to {0}` again, or drop the copy with `turnstream move --to {0} "
    "--abandon`"
)


class OtherStore(NamedTuple):
    """A store of another backend, and how many of its sessions the configured store has not."""

    backend: str
    path: Path
    store_id: str
    sessions: int


def other_stores(workspace: Path, backend: str) -> list[OtherStore]:
    """The stores beside the one of this backend, which may not be made yet.

    Empty if that cannot be read, or was moved: opening it says so. Another one that was moved is
    left out, and so is one that cannot be read, which is told in the log.
    """
    own = local_store(workspace, backend)
    if not isinstance(own, Movable):
        return []
    try:
        if own.mark() is not None:
            return []
        own.store_id()
    except StoreUnavailable:
        return []
    return [*_beside(own, workspace)]


def _beside(own: Movable, workspace: Path) -> Iterator[OtherStore]:
    for name in BACKENDS:
        other = local_store(workspace, name)
        if name == own.name or not isinstance(other, Movable):
            continue
        try:
            store_id, sessions = other.store_id(), other.missing_in(own)
        except StoreUnavailable as error:
            log.warning("another store lies beside this one, and is not looked at: %s", error)
            continue
        if store_id is not None:
            yield OtherStore(name, other.path, store_id, sessions)


def unfinished_move(workspace: Path) -> str | None:
    """The backend to which a move was begun and has not ended; None if there is none."""
    for name in BACKENDS:
        store = local_store(workspace, name)
        if isinstance(store, Movable) and store.incoming().path.exists():
            return name
    return None


async def told_of_others(workspace: Path, backend: str) -> list[str]:
    """A sentence for people on each other store in the workspace, ZeroClaw's too."""
    told = [
        f"{one.path} is a store of the {one.backend} backend; {one.sessions:,} of its sessions are "
        "not in this one"
        for one in await asyncio.to_thread(other_stores, workspace, backend)
    ]
    unfinished = unfinished_move(workspace)
    if unfinished is not None:
        told.append(f"a move to {unfinished} has not ended: {_GO_ON.format(unfinished)}")
    if foreign := await asyncio.to_thread(_foreign, workspace):
        told.append(
            f"ZeroClaw has sessions in {workspace} ({foreign}); what is new there comes in with "
            f"`turnstream import {workspace}`"
        )
    return told


def _foreign(workspace: Path) -> str:
    """What of ZeroClaw lies in the workspace; empty if there is nothing."""
    with tempfile.TemporaryDirectory(prefix="turnstream-") as scratch:
        found = Counter(one.kind for one in sources_in(workspace, Path(scratch)))
    names = {"sqlite": "a database", "jsonl": f"session files: {found['jsonl']:,}"}
    return ", ".join(name for kind, name in names.items() if found[kind])


async def check_others(workspace: Path, backend: str, *, adopt: bool = False) -> list[OtherStore]:
    """Make sure that opening this store hides no session.

    With `adopt` what is hidden is given, to be noted by `note_left` once this process leads.
    Raises ConfigError for a store that was neither taken in nor left behind before.
    """
    others = await asyncio.to_thread(other_stores, workspace, backend)
    found = [one for one in others if one.sessions]
    if not found:
        return []
    settled = await _settled(workspace, backend, found)
    new = [one for one in found if one not in settled]
    if new and not adopt:
        raise ConfigError(_sentence(workspace, backend, new[0]))
    for one in new:
        log.warning(
            "%d sessions of the %s store %s in %s are left behind: this store does not have them",
            *(one.sessions, one.backend, one.store_id, one.path),
        )
    return new


async def _settled(workspace: Path, backend: str, found: Sequence[OtherStore]) -> list[OtherStore]:
    """Those of the stores that were taken in, or left behind on purpose."""
    reader = make_session_backend(workspace, backend)
    if not isinstance(reader, Transferable):
        return []
    settled: list[OtherStore] = []
    with suppress(StoreUnavailable):  # an older store, which has no receipts yet
        async with reader:
            for one in found:
                for kind in (COPIED, LEFT):
                    receipts = await reader.receipts(f"{kind}:{one.store_id}")
                    # Without a digest it has not come to its end.
                    if any(receipt.digest for receipt in receipts) and one not in settled:
                        settled.append(one)
    return settled


async def note_left(backend: SessionBackend, left: Sequence[OtherStore]) -> None:
    """Note in the store, as its leader, that these others were left behind on purpose."""
    if left and isinstance(backend, Transferable):
        receipts = [
            Receipt(f"{LEFT}:{one.store_id}", "", LEFT, "-", 0, 0, 0, times.now(), one.backend)
            for one in left
        ]
        await backend.bring_in([], [], receipts)


def _sentence(workspace: Path, backend: str, hidden: OtherStore) -> str:
    own = local_store(workspace, backend)
    is_new = isinstance(own, Movable) and own.is_empty()
    way = (
        f"move them with `turnstream move --to {backend}`"
        if is_new
        else f"take them in with `turnstream import {hidden.path}`"
    )
    return (
        f"session_backend is {backend}, and {hidden.path} holds {hidden.sessions:,} sessions of "
        f"the {hidden.backend} backend that this store does not have: {way}, or set "
        f'session_backend = "{hidden.backend}" again, or leave them where they are by starting '
        "once with --adopt-stream"
    )
