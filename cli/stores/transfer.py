"""Opens the configured store for exports and imports, and finds out what a path leads to."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Generator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any, Final, Literal, cast

from sessions import make_session_backend
from sessions.errors import ConfigError
from sessions.process.settings import Settings
from sessions.store.backend import Transferable
from sessions.store.capabilities import Lockable
from sessions.store.factory import backend_of_file, local_store
from sessions.store.image import StoreRows
from sessions.transfer.exporting import COPIED, IMPORTED, export_store, written_file
from sessions.transfer.lead import taken_lead
from sessions.transfer.reading import ExportFile, is_export
from sessions.transfer.records import Filter
from sessions.transfer.report import Advance, SourceReport
from sessions.transfer.restoring import Restoration, TransferableBackend, restore_all
from sessions.transfer.zeroclaw_export import export_zeroclaw
from sessions.transfer.zeroclaw_import import ZeroClawImport
from sessions.zeroclaw.finding import SESSIONS, find_sources
from sessions.zeroclaw.values import Format, Written

# What stands for standard input and output.
STANDARD: Final = Path("-")


@asynccontextmanager
async def opened_store(
    settings: Settings, mode: Literal["read", "write"]
) -> AsyncGenerator[TransferableBackend]:
    """The configured store. Raises ConfigError if it cannot be copied, or cannot be opened."""
    backend = make_session_backend(settings.workspace, settings.channels.session_backend, mode=mode)
    if not isinstance(backend, Transferable):
        raise ConfigError(f"a {backend.name} store can be neither exported nor imported yet")
    async with backend:
        yield cast("TransferableBackend", backend)


@asynccontextmanager
async def _led_store(settings: Settings, what: str) -> AsyncGenerator[TransferableBackend]:
    """The configured store for writing; a worker that leads it stands by meanwhile."""
    store = local_store(settings.workspace, settings.channels.session_backend)
    lock = store.leader_lock() if isinstance(store, Lockable) else None
    async with opened_store(settings, "write") as backend, taken_lead(backend, lock, what=what):
        yield backend


@asynccontextmanager
async def _made_store(settings: Settings) -> AsyncGenerator[TransferableBackend]:
    """The configured store for reading. Raises ConfigError if there is none.

    One that was never made reads as empty, and a backup of the wrong directory is seen too late.
    """
    async with opened_store(settings, "read") as backend:
        if await backend.store_id() is None:
            raise ConfigError(
                f"there is no {backend.name} store in {settings.workspace}; name the directory "
                "with --workspace, and its backend in [channels].session_backend"
            )
        yield backend


# -- out -----------------------------------------------------------------------------------------


async def write_export(
    settings: Settings, path: Path, narrowed: Filter | None, advance: Advance, *, whole: bool
) -> Counter[str]:
    """Write an export, or a backup, to a file or to standard output."""
    async with _made_store(settings) as backend:
        if path == STANDARD:
            return await export_store(
                backend, sys.stdout.buffer, narrowed=narrowed, whole=whole, advance=advance
            )
        with written_file(path) as file:
            return await export_store(
                backend, file, narrowed=narrowed, whole=whole, advance=advance
            )


async def write_zeroclaw(
    settings: Settings, directory: Path, format: Format, narrowed: Filter | None, advance: Advance
) -> Written:
    """Write a workspace for ZeroClaw."""
    async with _made_store(settings) as backend:
        return await export_zeroclaw(
            backend, directory, format=format, narrowed=narrowed, advance=advance
        )


# -- in ------------------------------------------------------------------------------------------


def bring_in(
    settings: Settings, path: Path, advance: Advance, *, dry_run: bool
) -> Coroutine[Any, Any, Sequence[SourceReport]]:
    """Bring in what a path leads to: an export, a store of ours, or a ZeroClaw workspace."""
    path = path.absolute()
    if path.is_file() and is_export(path):
        return _bring_in_export(settings, path, advance, dry_run=dry_run)
    name = backend_of_file(path)
    if name is not None and path.is_file():
        return _bring_in_store(settings, path, name, advance, dry_run=dry_run)
    return _bring_in_zeroclaw(settings, path, advance, dry_run=dry_run)


@asynccontextmanager
async def _target(settings: Settings, *, dry_run: bool) -> AsyncGenerator[TransferableBackend]:
    opened = opened_store(settings, "read") if dry_run else _led_store(settings, "import")
    async with opened as backend:
        yield backend


async def _bring_in_export(
    settings: Settings, path: Path, advance: Advance, *, dry_run: bool
) -> Sequence[SourceReport]:
    file = ExportFile.checked(path)
    async with _target(settings, dry_run=dry_run) as backend:
        restoration = Restoration(
            backend, name=f"{IMPORTED}:{file.digest}", kind=IMPORTED, advance=advance
        )
        if await restoration.begin(digest=file.digest):
            await restore_all(restoration, _parts(file), dry_run=dry_run)
            if not dry_run:
                await restoration.finish(
                    head=None, place=file.place, digest=file.digest, size=file.size
                )
        restoration.report.source = str(path)
        return [restoration.report]


async def _parts(file: ExportFile) -> AsyncIterator[StoreRows]:
    for part in file.parts():
        yield part


async def _bring_in_store(
    settings: Settings, path: Path, name: str, advance: Advance, *, dry_run: bool
) -> Sequence[SourceReport]:
    """Bring in another store of ours, which is only read."""
    workspace = path.parent.parent
    _check_place(settings, path, workspace, name)
    other = make_session_backend(workspace, name)
    assert isinstance(other, Transferable)
    async with other, other.snapshot() as snapshot, _target(settings, dry_run=dry_run) as backend:
        head = snapshot.head
        restoration = Restoration(
            backend, name=f"{COPIED}:{head.store_id}", kind=COPIED, advance=advance
        )
        await restoration.begin()
        await restore_all(restoration, snapshot.parts(), dry_run=dry_run)
        if not dry_run:
            await restoration.finish(head=None, place=head.cursor, digest="-", size=0)
        restoration.report.source = str(path)
        return [restoration.report]


def _check_place(settings: Settings, path: Path, workspace: Path, name: str) -> None:
    """Raise ConfigError unless the file is where a store is opened, and is not the one in use."""
    opened = local_store(workspace, name)
    if opened is None or opened.path != path:
        raise ConfigError(
            f"{path} is not in a folder named {SESSIONS}, as a store is: put it, and what lies "
            f"beside it, in such a folder, and import {path.parent / SESSIONS / path.name}"
        )
    used = local_store(settings.workspace, settings.channels.session_backend)
    if used is not None and used.path.exists() and used.path.samefile(path):
        raise ConfigError(f"{path} is the store of this workspace itself")


async def _bring_in_zeroclaw(
    settings: Settings, path: Path, advance: Advance, *, dry_run: bool
) -> Sequence[SourceReport]:
    async with _target(settings, dry_run=dry_run) as backend:
        # Beside the store: in a container a temporary directory may be memory.
        place = None if dry_run else settings.workspace
        with tempfile.TemporaryDirectory(prefix=".import-", dir=place) as scratch:
            sources = find_sources(path, Path(scratch))
            importing = ZeroClawImport(
                backend, settings.workspace, advance=advance, dry_run=dry_run
            )
            return [await importing.run(source) for source in sources]


async def restore_backup(settings: Settings, path: Path, advance: Advance) -> SourceReport:
    """Make an empty store the one of a backup: its id and its place in the stream too.

    Raises ConfigError if the store is not empty, if a worker leads it (its stream belongs to the
    store as it is), or if the file is an export and no backup.
    """
    _refuse_if_led(settings)
    with _on_disk(path, settings.workspace) as copy:
        file = ExportFile.checked(copy)
        if file.store is None:
            raise ConfigError(
                f"{path} is an export, not a backup; bring it in with `turnstream import {path}`"
            )
        async with _led_store(settings, "restore") as backend:
            restoration = Restoration(
                backend, name=f"{IMPORTED}:{file.digest}", kind=IMPORTED, advance=advance
            )
            restoration.report.source = str(path)
            if not await restoration.begin(digest=file.digest):
                return restoration.report
            if not restoration.is_exact:
                raise ConfigError(
                    f"the store in {settings.workspace} is not empty; restore into a new "
                    "workspace, or bring the backup in beside it with `turnstream import`"
                )
            await restore_all(restoration, _parts(file), dry_run=False)
            await restoration.finish(
                head=file.store.head, place=file.place, digest=file.digest, size=file.size
            )
            return restoration.report


def _refuse_if_led(settings: Settings) -> None:
    store = local_store(settings.workspace, settings.channels.session_backend)
    if store is None or not isinstance(store, Lockable) or not store.path.parent.is_dir():
        return
    with closing(store.leader_lock()) as lock:
        if not lock.try_acquire():
            raise ConfigError(
                f"a worker writes to {settings.workspace}; stop it first (turnstream up, or "
                "turnstream worker), then restore into a new workspace"
            )


@contextmanager
def _on_disk(path: Path, workspace: Path) -> Generator[Path]:
    """The file; standard input is copied first, because it is read twice.

    To the workspace: in a container a temporary directory may be memory.
    """
    if path != STANDARD:
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix=".restore-", dir=workspace) as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.flush()
        yield Path(copy.name)
