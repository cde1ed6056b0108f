"""What is for this user alone: directories are made so, and what others may read is told."""

from __future__ import annotations

import logging
import re
import shlex
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

from sessions.process.urls import holds_password

log = logging.getLogger(__name__)

# What may be entered or read by the group or by others.
_OPEN_DIRECTORY: Final = 0o077
_READABLE: Final = 0o044
# What lies in a workspace and would tell others a secret, or what people said.
_DIRECTORIES: Final = ("sessions", "redis")
_FILES: Final = ("token", "tokens.json", "up.json")
# What settings files, ZeroClaw's too, call a secret. A name with `_env` behind it is none.
_SECRET: Final = re.compile(r"(?:token|secret|password|api_?key|private_key)s?$", re.IGNORECASE)


def make_private_directory(path: Path) -> None:
    """Make the directory, and what is missing above it, for this user alone under any umask.

    One that is there stays as it is. Several processes may do it at a time. Raises OSError.
    """
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if not path.is_dir():
            raise
    except FileNotFoundError:
        if path.parent == path:
            raise
        make_private_directory(path.parent)
        make_private_directory(path)
    else:
        # The umask may have taken our own rights too.
        path.chmod(0o700)


def warn_of_exposure(*, workspace: Path | None, settings_file: Path | None) -> None:
    """Log a warning for everything that others may read and should not; called at a start."""
    found: list[str] = []
    if settings_file is not None:
        found.extend(exposed_settings(settings_file))
    if workspace is not None:
        found.extend(exposed_workspace(workspace))
    for text in found:
        log.warning("%s", text)


def exposed_settings(path: Path) -> list[str]:
    """A sentence if the settings file holds secrets that others may read, with what to run."""
    mode = _mode(path)
    names = secrets_in(path) if mode & _READABLE else []
    if not names:
        return []
    return [
        f"{path} holds secrets ({', '.join(names)}), and others may read it (mode {mode:04o}): "
        f"chmod 600 {shlex.quote(str(path))}"
    ]


def exposed_secret(path: Path) -> str | None:
    """A sentence if others may read the file, which holds one secret; None if nobody else may."""
    mode = _mode(path)
    if not mode & _READABLE:
        return None
    return f"others may read {path} (mode {mode:04o}): chmod 600 {shlex.quote(str(path))}"


def exposed_workspace(workspace: Path) -> list[str]:
    """A sentence for each thing in the workspace that others may read, with what to run.

    A workspace that others cannot enter hides all that is in it.
    """
    if not _mode(workspace) & _OPEN_DIRECTORY:
        return []
    directories = [workspace, *(workspace / name for name in _DIRECTORIES)]
    files = [workspace / name for name in _FILES]
    wanted = dict.fromkeys(directories, ("700", _OPEN_DIRECTORY))
    wanted |= dict.fromkeys(files, ("600", _READABLE))
    return [
        f"others may look into {path} (mode {mode:04o}): chmod {right} {shlex.quote(str(path))}"
        for path, (right, wrong) in wanted.items()
        if (mode := _mode(path)) & wrong
    ]


def secrets_in(path: Path) -> list[str]:
    """The names of the secrets in a TOML file; none where it cannot be read."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []  # the code that loads the settings says so
    return [name for name, key, text in _texts(document) if _is_secret(key, text)]


def _is_secret(key: str, text: str) -> bool:
    return bool(text) and (bool(_SECRET.search(key)) or holds_password(text))


def _texts(value: Any, name: str = "", key: str = "") -> Iterator[tuple[str, str, str]]:
    """Each text in the document, with its dotted name and the key under which it stands."""
    if isinstance(value, dict):
        for inner, below in cast("dict[str, Any]", value).items():
            yield from _texts(below, f"{name}.{inner}" if name else inner, inner)
    elif isinstance(value, list):
        for below in cast("list[Any]", value):
            yield from _texts(below, name, key)
    elif isinstance(value, str):
        yield name, key, value


def _mode(path: Path) -> int:
    """The permissions, 0 where there is nothing."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0


__all__ = [
    "exposed_secret",
    "exposed_settings",
    "exposed_workspace",
    "make_private_directory",
    "secrets_in",
    "warn_of_exposure",
]
