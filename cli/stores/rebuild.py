"""`verify --rebuild-index`: make the index of a jsonl store anew, while no worker leads."""

from __future__ import annotations

from contextlib import closing
from typing import Final

from sessions.errors import ConfigError
from sessions.process.private import make_private_directory
from sessions.process.settings import Settings
from sessions.store.jsonl.rebuild import Rebuilt, rebuild_index
from worker.leadership import DeathLock, lock_path

BACKEND: Final = "jsonl"


async def rebuild(settings: Settings) -> Rebuilt:
    """Rebuild the index of the workspace; ConfigError where that cannot or must not be done."""
    backend = settings.channels.session_backend
    if backend != BACKEND:
        raise ConfigError(
            f"--rebuild-index is for the {BACKEND} backend; the {backend} backend keeps its index "
            "and its text in one file, which has to be restored from a backup"
        )
    make_private_directory(settings.workspace / "sessions")
    with closing(DeathLock(lock_path(settings.workspace))) as lock:
        if not lock.take():
            raise ConfigError(
                f"a worker writes to {settings.workspace}; stop it first (turnstream up, or "
                "turnstream worker), then rebuild"
            )
        return await rebuild_index(settings.workspace)
