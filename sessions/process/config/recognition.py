"""Whose configuration a file is."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from sessions.process.config.tables import table_of

ZEROCLAW_FILE: Final = "config.toml"
# Sections that are in ZeroClaw's file alone.
_SECTIONS: Final = frozenset(
    {"schema_version", "providers", "risk_profiles", "runtime_profiles", "peer_groups", "autonomy"}
)
# Settings that its agents and its gateway have, and ours have not.
_OF_AGENTS: Final = frozenset({"model_provider", "risk_profile", "runtime_profile"})
_OF_GATEWAY: Final = frozenset({"require_pairing", "paired_tokens", "allow_public_bind"})
# What lies in a directory of ZeroClaw: its key for secrets, and its sessions.
_SIGNS: Final = (".secret_key", "sessions/sessions.db", "data/sessions/sessions.db")


class FileDialect(StrEnum):
    """Whose names and defaults a file has."""

    TURNSTREAM = "turnstream"
    ZEROCLAW = "zeroclaw"


def dialect_of(document: Mapping[str, Any], file: Path, workspace: Path) -> FileDialect:
    """The dialect that the file names, else the one that its name, place and sections show.

    Only a file that is called as ZeroClaw's is may be ZeroClaw's without saying so.
    """
    named = table_of(document.get("turnstream")).get("dialect")
    if named is not None:
        return FileDialect.ZEROCLAW if named == FileDialect.ZEROCLAW else FileDialect.TURNSTREAM
    if file.name != ZEROCLAW_FILE:
        return FileDialect.TURNSTREAM
    places = (file.absolute().parent, workspace)
    if has_foreign_names(document) or any(map(is_of_zeroclaw, places)):
        return FileDialect.ZEROCLAW
    return FileDialect.TURNSTREAM


def has_foreign_names(document: Mapping[str, Any]) -> bool:
    """Whether there is something in it that only ZeroClaw's files have."""
    agents = table_of(document.get("agents")).values()
    return (
        not _SECTIONS.isdisjoint(document)
        or not _OF_GATEWAY.isdisjoint(table_of(document.get("gateway")))
        or any(not _OF_AGENTS.isdisjoint(table_of(agent)) for agent in agents)
    )


def is_of_zeroclaw(directory: Path) -> bool:
    """Whether the directory is one that ZeroClaw works in."""
    return directory.name == ".zeroclaw" or any((directory / sign).exists() for sign in _SIGNS)


__all__ = ["ZEROCLAW_FILE", "FileDialect", "dialect_of", "has_foreign_names", "is_of_zeroclaw"]
