"""The only place where a backend is chosen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from sessions import times
from sessions.errors import UnknownBackend
from sessions.models import LetterBounds
from sessions.process.settings import BACKENDS
from sessions.store.backend import SessionBackend
from sessions.store.capabilities import LocalStore
from sessions.wire import DEFAULT_MAX_CONTENT


def make_session_backend(
    workspace_dir: str | Path,
    backend: str,
    *,
    mode: Literal["read", "write"] = "read",
    max_content: int = DEFAULT_MAX_CONTENT,
    bounds: LetterBounds | None = None,
) -> SessionBackend:
    """The backend of that name on that workspace; it does no I/O before `async with`.

    In read mode nothing is ever created, and a store that was not made yet reads as empty.
    `max_content` bounds, in bytes, the content of a dead letter that is replayed; `bounds` how many
    dead letters are kept.
    Raises UnknownBackend, which names the valid ones, for another name.
    """
    workspace = Path(workspace_dir)
    if backend == "sqlite":
        from sessions.store.sqlite.backend import SqliteBackend

        return SqliteBackend(workspace, mode=mode, max_content=max_content, bounds=bounds)
    if backend == "jsonl":
        from sessions.store.jsonl.backend import JsonlBackend

        return JsonlBackend(workspace, mode=mode, max_content=max_content, bounds=bounds)
    raise _unknown(backend)


def incoming_backend(
    workspace_dir: str | Path,
    backend: str,
    *,
    max_content: int = DEFAULT_MAX_CONTENT,
    clock: Callable[[], int] = times.now,
) -> SessionBackend:
    """The backend for writing on the store that is made to take its place in the workspace.

    It has another name there, so that nobody else opens it; see `capabilities.Movable`.
    """
    workspace = Path(workspace_dir)
    if backend == "sqlite":
        from sessions.store.sqlite.backend import INCOMING_FILE, SqliteBackend

        return SqliteBackend(
            workspace, mode="write", max_content=max_content, clock=clock, file=INCOMING_FILE
        )
    if backend == "jsonl":
        from sessions.store.jsonl.backend import INCOMING_INDEX, JsonlBackend

        return JsonlBackend(
            workspace, mode="write", max_content=max_content, clock=clock, index=INCOMING_INDEX
        )
    raise _unknown(backend)


def local_store(workspace_dir: str | Path, backend: str) -> LocalStore | None:
    """What the backend of that name keeps in the workspace; None if it keeps its store elsewhere.

    It does no I/O by itself, and opens nothing as a backend does; see `capabilities` for what may
    be asked of it. Raises UnknownBackend for another name.
    """
    workspace = Path(workspace_dir)
    if backend == "sqlite":
        from sessions.store.sqlite.local import LocalSqliteStore

        return LocalSqliteStore(workspace)
    if backend == "jsonl":
        from sessions.store.jsonl.local import LocalJsonlStore

        return LocalJsonlStore(workspace)
    raise _unknown(backend)


def backend_of_file(path: Path) -> str | None:
    """Which backend keeps its store in, or its index under, a file of that name; None if none."""
    from sessions.store.jsonl.backend import INDEX
    from sessions.store.sqlite.backend import FILE

    return {FILE: "sqlite", INDEX: "jsonl"}.get(path.name)


def _unknown(backend: str) -> UnknownBackend:
    return UnknownBackend(
        f"session_backend {backend!r} does not exist; set [channels].session_backend to one of "
        f"{', '.join(BACKENDS)}"
    )
