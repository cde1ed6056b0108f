"""The setting that names the backend: written down where nothing else says it, or explained."""

from __future__ import annotations

import contextlib
import os
import re
import tomllib
from pathlib import Path
from typing import Any, Final

from cli.options import CommandContext
from sessions.process.config.loading import SETTINGS_FILE

_VARIABLE: Final = "TURNSTREAM_SESSION_BACKEND"
_CHANNELS: Final = re.compile(r"^\[channels\][ \t]*(?:#.*)?$", re.MULTILINE)


def chosen_backend(context: CommandContext, workspace: Path, backend: str) -> str:
    """Have the settings name the backend if nothing does yet; a sentence on what was or is to do.

    What a person has written is never changed: a variable or a line that names another backend is
    named.
    """
    line = f'session_backend = "{backend}"'
    if context.environ.get(_VARIABLE) not in (None, "", backend):
        return f"set the variable {_VARIABLE} to {backend}, and start again"
    own = workspace / SETTINGS_FILE
    file = context.settings_file or own
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    named = tomllib.loads(text).get("channels", {}).get("session_backend")
    if named == backend:
        return f"{file} names it already: start again"
    if named is not None:
        return f"write {line} into [channels] of {file}, and start again"
    added = _added(text, line)
    if file != own or added is None:
        return f"add these two lines to {file}, and start again:\n[channels]\n{line}"
    _write(file, added)
    return f"{file} names it now: start again"


def _added(text: str, line: str) -> str | None:
    """The settings with one more line; None if that would not be the same settings and this one."""
    found = _CHANNELS.search(text)
    if found is not None:
        added = f"{text[: found.end()]}\n{line}{text[found.end() :]}"
    else:
        gap = "" if not text or text.endswith("\n\n") else "\n" if text.endswith("\n") else "\n\n"
        added = f"{text}{gap}[channels]\n{line}\n"
    with contextlib.suppress(tomllib.TOMLDecodeError):
        before, after = tomllib.loads(text), tomllib.loads(added)
        wanted: dict[str, Any] = {**before.get("channels", {}), **tomllib.loads(line)}
        if after == {**before, "channels": wanted}:
            return added
    return None


def _write(file: Path, text: str) -> None:
    """Put the text into the file, in one step, as it may be read at this moment."""
    mode = file.stat().st_mode & 0o777 if file.exists() else 0o600
    draft = file.with_name(f".{file.name}.new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as new:
        new.write(text)
        new.flush()
        os.fsync(new.fileno())
    draft.chmod(mode)
    draft.replace(file)
