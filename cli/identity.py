"""Whether a server is the one of the workspace: it names its store, before it sees a token.

Another program may listen where one's own did, or serve another workspace. It would be told the
administrator's token with the first request.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli.system import TargetSystem
from sessions.errors import ConfigError, Retryable
from sessions.process.settings import BACKENDS
from sessions.process.urls import redacted
from sessions.store.factory import local_store


def check_identity(system: TargetSystem, status: int, report: Mapping[str, Any]) -> None:
    """Raise where the server may not be shown the token; `report` is what its /readyz said.

    ConfigError names both stores where it serves another one, or none that it tells of; Retryable
    where it cannot tell now. Without a store in the workspace there is nothing to compare.
    """
    known = stores_of(system.settings.workspace) if system.is_bound else {}
    served = report.get("store_id")
    if not known or served in known.values() or (served is None and not system.is_strict):
        return
    place, workspace = redacted(system.api_url or ""), system.settings.workspace
    if served is None and "backend" in report and status >= 500:
        raise Retryable(f"{place} cannot tell its store now: {report.get('error', 'not ready')}")
    stores = ", ".join(f"{store} ({backend})" for backend, store in known.items())
    serves = f"serves the store {served}" if served else "does not tell which store it serves"
    raise ConfigError(
        f"{place} {serves}, but the store of {workspace} is {stores}; no token was sent: name the "
        "right --workspace, or set TURNSTREAM_API_URL and TURNSTREAM_TOKEN for a system elsewhere"
    )


def stores_of(workspace: Path) -> dict[str, str]:
    """The ids of the stores in the workspace, by backend; raises StoreUnavailable."""
    found: dict[str, str] = {}
    for backend in BACKENDS:
        store = local_store(workspace, backend)
        store_id = store.store_id() if store is not None else None
        if store_id is not None:
            found[backend] = store_id
    return found


__all__ = ["check_identity", "stores_of"]
