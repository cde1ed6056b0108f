"""What runs in a workspace: the lock that `up` holds, and the record by which others find it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self, cast

from sessions.errors import ConfigError, SessionError
from sessions.process.private import make_private_directory
from sessions.process.retry import Pauses, retry_blocking

RECORD: Final = "up.json"
LOCK: Final = "up.lock"
# Seconds that are more than enough to look who holds the lock.
_GLANCE: Final = 0.2


class AlreadyRunning(SessionError):
    """Another `turnstream up` has the workspace."""


@dataclass(frozen=True)
class UpRecord:
    """A `turnstream up` that is ready: what stands in `{workspace}/up.json`."""

    pid: int
    url: str
    redis_url: str
    workspace: str
    backend: str
    prefix: str
    started_at: str

    @classmethod
    def find(cls, workspace: Path) -> Self | None:
        """The one in the workspace; None if there is none, or only the record of a killed one.

        The process that wrote the record must hold the lock: its id alone may be another's by now.
        """
        document = _read_object(workspace / RECORD)
        try:
            found = cls(**document)
        except TypeError:
            return None
        return found if _holder(workspace / LOCK) == found.pid else None

    def write(self) -> None:
        """Leave the record, in one step, for this user alone."""
        path = Path(self.workspace, RECORD)
        draft = path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(asdict(self), file, indent=2)
        draft.replace(path)

    def remove(self) -> None:
        """Take the record away."""
        Path(self.workspace, RECORD).unlink(missing_ok=True)


class WorkspaceLock:
    """The right to run `up` in a workspace; ends with the process that has it."""

    def __init__(self, file: int) -> None:
        self._file = file

    @classmethod
    @contextlib.contextmanager
    def held(cls, workspace: Path) -> Generator[Self]:
        """Hold the lock within the block; raises AlreadyRunning that says who has it."""
        file = os.open(workspace / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _taken(file):
                raise _refused(workspace)
            lock = cls(file)
            try:
                yield lock
            finally:
                lock.describe()
        finally:
            os.close(file)

    def describe(self, **facts: object) -> None:
        """Replace what a second `up` is told of this one."""
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, json.dumps(facts).encode(), 0)


def make_workspace(path: Path) -> Path:
    """The directory, made for this user alone where it is missing; raises ConfigError."""
    try:
        make_private_directory(path)
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(None, "it may not be read and written by this user")
    except OSError as error:
        raise ConfigError(
            f"the workspace {path} cannot be used: {error.strerror}; choose another with "
            "--workspace, or fix its permissions"
        ) from error
    return path


def _refused(workspace: Path) -> AlreadyRunning:
    holder = _read_object(workspace / LOCK)
    who = f"process {holder.get('pid', 'unknown')}"
    since = f", since {holder['started_at']}" if "started_at" in holder else ""
    url = f", on {holder['url']}" if "url" in holder else ""
    return AlreadyRunning(
        f"turnstream up runs in {workspace} already: {who}{since}{url}; use that one, stop it, or "
        "choose another directory with --workspace"
    )


def _read_object(path: Path) -> dict[str, Any]:
    """The JSON object in the file, empty where there is none (any more, or yet)."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast("dict[str, Any]", document) if isinstance(document, dict) else {}


def _taken(file: int) -> bool:
    """Take the lock, waiting a moment: a command that looks whether `up` runs holds it as well."""
    try:
        retry_blocking(
            lambda: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB),
            on=BlockingIOError,
            pauses=Pauses(_GLANCE / 10),
            patience=_GLANCE,
        )
    except BlockingIOError:
        return False
    return True


def _holder(path: Path) -> int | None:
    """The id of the process that holds the lock, None where nobody does or nobody may know."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = _read_object(path).get("pid")
        return pid if isinstance(pid, int) else None
    finally:
        os.close(file)
    return None
