"""`verify` on the store itself: checked against itself, or its index made again."""

from __future__ import annotations

from sessions.errors import ConfigError
from sessions.process.settings import Settings
from sessions.store.capabilities import Health, Rebuildable, Rebuilt, SelfChecking
from sessions.store.factory import local_store


def check_store(settings: Settings) -> Health:
    """Check the store of a workspace; raises SessionError where there is none, or a broken one."""
    backend = settings.channels.session_backend
    store = local_store(settings.workspace, backend)
    if not isinstance(store, SelfChecking):
        raise ConfigError(f"the {backend} backend cannot check its store against itself")
    return store.check()


async def rebuild_index(settings: Settings) -> Rebuilt:
    """Rebuild the index of the workspace; ConfigError where that cannot or must not be done."""
    backend = settings.channels.session_backend
    store = local_store(settings.workspace, backend)
    if not isinstance(store, Rebuildable):
        raise ConfigError(
            f"--rebuild-index is for the jsonl backend; the {backend} backend keeps its index "
            "and its text in one file, which has to be restored from a backup"
        )
    return await store.rebuild()
