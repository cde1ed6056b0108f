"""Finds what ZeroClaw has left in a directory, and tells it from what is ours."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, cast

from sessions.errors import ConfigError
from sessions.zeroclaw.claims import SUFFIX, Claim, FileStage, KeyClaims
from sessions.zeroclaw.database import DATABASE, DatabaseSource, SessionDatabase
from sessions.zeroclaw.files import JsonlFile
from sessions.zeroclaw.sources import LONGEST, readable
from sessions.zeroclaw.values import ForeignSource

SESSIONS: Final = "sessions"
ARCHIVE: Final = "archive"
# Our own stores, which may lie in the same directory.
_OURS: Final = ("turnstream.db", "index.db")
_META: Final = ".meta.json"
# In the archive a second file of a name gets a number before its last ending.
_FORM: Final = re.compile(
    r"(?P<key>.*)\.jsonl(?P<ending>\.importing|\.migrated|_[0-9]+\.migrated)?", re.DOTALL
)
_STAGES: Final = {
    None: FileStage.LIVE,
    ".importing": FileStage.STAGED,
    ".migrated": FileStage.MIGRATED,
}


def find_sources(path: Path, scratch: Path) -> Sequence[ForeignSource]:
    """What there is to read: the database first, then the files by their names.

    `path` is a workspace, the directory of its sessions, a sessions.db or one JSONL file. `scratch`
    is an empty private directory, for a copy of a database that is in use; the caller removes it
    when all is read. The sources are small: nothing is read before they are asked. Raises
    ConfigError if there is nothing of ZeroClaw.
    """
    with readable(path):
        path.stat()
    found = _in_directory(path, scratch) if path.is_dir() else _single(path, scratch)
    if not found:
        raise ConfigError(_nothing_in(path))
    return found


def _nothing_in(path: Path) -> str:
    """What to say of a directory without sessions of ZeroClaw."""
    for store in (path / place / name for place in (SESSIONS, "") for name in _OURS):
        if store.is_file():
            return f"{path} holds no sessions of ZeroClaw, but a store of Turnstream: name {store}"
    return (
        f"{path} holds no sessions of ZeroClaw: in its folder {SESSIONS}, or in itself if it "
        f"has no such folder, there is no {DATABASE} and no {SUFFIX} file"
    )


def sources_in(workspace: Path, scratch: Path) -> Sequence[ForeignSource]:
    """What there is to read in the folder of a workspace's sessions; nothing is no error."""
    directory = workspace / SESSIONS
    return _in_sessions(directory, scratch) if directory.is_dir() else []


def holds_sessions(directory: Path) -> bool:
    """Whether there is a database of ZeroClaw, or any session file, be it ours."""
    return _has_database(directory) or any(map(_FORM.fullmatch, _names(directory)))


def _in_directory(path: Path, scratch: Path) -> Sequence[ForeignSource]:
    return _in_sessions(path / SESSIONS if (path / SESSIONS).is_dir() else path, scratch)


def _in_sessions(directory: Path, scratch: Path) -> Sequence[ForeignSource]:
    database = None
    if _has_database(directory):
        database = SessionDatabase(_plain_file(directory / DATABASE), scratch)
    groups: dict[object, list[Claim]] = defaultdict(list)
    keys: dict[object, str | None] = {}
    for key, claim in _claims_in(directory):
        group = key if _is_text(key) else claim.file.path
        groups[group].append(claim)
        keys[group] = key if _is_text(key) else None
    files = [
        source
        for group, claims in groups.items()
        for source in KeyClaims(keys[group], claims, database).sources()
    ]
    files.sort(key=lambda source: source.name)
    return [*([DatabaseSource(database, DATABASE)] if database else []), *files]


def _single(path: Path, scratch: Path) -> Sequence[ForeignSource]:
    """The source that a user names. What lies beside it does not matter."""
    if path.name in _OURS or _is_ours(path):
        raise ConfigError(f"{path} is Turnstream's own, not ZeroClaw's")
    form = _FORM.fullmatch(path.name)
    if form is None:
        return [DatabaseSource(SessionDatabase(_plain_file(path), scratch), _shown(path.name))]
    claim = Claim(JsonlFile(path), _shown(path.name), FileStage.LIVE)
    key = form["key"] if _is_text(form["key"]) else None
    return KeyClaims(key, [claim], None).sources()


def _claims_in(directory: Path) -> Iterator[tuple[str, Claim]]:
    """The files that may hold a session, each with its key. Ours are not among them."""
    archive = directory / ARCHIVE
    archived = _names(archive) if archive.is_dir() and not archive.is_symlink() else []
    for place, names in ((directory, _names(directory)), (archive, archived)):
        for name in names:
            form = _FORM.fullmatch(name)
            stage = _stage(form["ending"], archived=place is archive) if form else None
            if form is None or stage is None or _is_ours(place / name):
                continue
            shown = _shown(name if place is directory else f"{ARCHIVE}/{name}")
            yield form["key"], Claim(JsonlFile(place / name), shown, stage)


def _stage(ending: str | None, *, archived: bool) -> FileStage | None:
    if not archived:
        return _STAGES.get(ending)
    if ending == ".importing":
        return None
    return FileStage.ARCHIVED if ending is None else FileStage.ARCHIVED_MIGRATED


def _names(directory: Path) -> list[str]:
    with readable(directory):
        return [name for name in os.listdir(directory) if not name.startswith(".")]


def _is_ours(path: Path) -> bool:
    """Whether it is a session file of our jsonl backend, or an export.

    That is told beside it, or in its first line.
    """
    if path.name.endswith(SUFFIX) and path.with_name(path.name[: -len(SUFFIX)] + _META).exists():
        return True
    if not path.name.endswith(SUFFIX) or path.is_symlink() or not path.is_file():
        return False
    with readable(path), open(path, "rb") as file:
        return _is_our_line(file.readline(LONGEST))


def _is_our_line(line: bytes) -> bool:
    try:
        value: object = json.loads(line)
    except (ValueError, RecursionError):
        return False
    if not isinstance(value, dict):
        return False
    # ZeroClaw writes two fields; a line of ours also names its event and its session, and one of
    # an export its kind.
    names = cast("dict[str, object]", value).keys()
    return names >= {"id", "session"} or "kind" in names


def _has_database(directory: Path) -> bool:
    return os.path.lexists(directory / DATABASE)


def _plain_file(path: Path) -> Path:
    with readable(path):
        path.stat()
    if not path.is_file():
        raise ConfigError(f"{path} is no file")
    return path


def _is_text(name: str) -> bool:
    """Whether the name of a file is UTF-8. Python keeps other bytes as halves of pairs."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(name: str) -> str:
    return os.fsencode(name).decode(errors="backslashreplace")
