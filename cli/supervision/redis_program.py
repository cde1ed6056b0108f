"""The child of the supervisor that is the embedded Redis.

`python -m cli.supervision.redis_program`

It looks at the socket first: a server of ours that outlived its supervisor is adopted, one that is
not ours is refused, and otherwise the program becomes the server. Two servers on one directory
would destroy the data, so a lock in the directory is held by the server itself while it lives.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import stat
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from cli.supervision.child import python_module
from cli.supervision.embedded_redis import SHUTDOWN_TIMEOUT, EmbeddedRedis
from sessions.errors import ConfigError, Retryable
from sessions.process.lifeline import LIFELINE_VARIABLE, inherited_pipe, watch_parent
from sessions.process.private import make_private_directory
from sessions.process.progress import ProgressReporter
from sessions.stream.redis import ERRORS, connect, explain

_LOCK_NAME: Final = "server.lock"


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Adopt the server that runs already, or become it; gives the exit code if it returns."""
    redis = _parse(arguments)
    try:
        _make_private(redis.socket_path.parent)
        make_private_directory(redis.directory)
        lifeline = inherited_pipe(environ, LIFELINE_VARIABLE)
        running = asyncio.run(_running_server(redis))
        if running is None:
            _become_server(redis, lifeline)
        return asyncio.run(_stand_in(redis, running, lifeline, ProgressReporter.inherited(environ)))
    except (ConfigError, OSError) as error:
        print(error, file=sys.stderr)
        return os.EX_CONFIG if isinstance(error, ConfigError) else os.EX_TEMPFAIL


def _parse(arguments: Sequence[str]) -> EmbeddedRedis:
    parser = argparse.ArgumentParser(
        prog="python -m cli.supervision.redis_program", description=__doc__
    )
    parser.add_argument("--program", required=True, help="the Redis or Valkey server to run")
    parser.add_argument("--directory", required=True, type=Path, help="the directory of its data")
    parser.add_argument("--socket", required=True, type=Path, help="the socket that it listens on")
    parser.add_argument("--maxmemory", required=True, type=int, help="its memory limit in bytes")
    given = parser.parse_args(arguments)
    return EmbeddedRedis(given.program, given.directory, given.socket, given.maxmemory)


def _make_private(directory: Path) -> None:
    """Create the directory for us alone; raises ConfigError where it is somebody else's.

    Others can create names in the temporary directory too, and could otherwise put their own
    server behind the socket.
    """
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    found = directory.lstat()
    private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
    if not private or found.st_uid != os.geteuid():
        raise ConfigError(f"{directory} is not a private directory of this user: remove it")


async def _running_server(redis: EmbeddedRedis) -> int | None:
    """The process id of a server of ours on the socket, None where nobody listens on it.

    A stale socket is removed. Raises ConfigError for a server that is not ours, OSError for one
    that does not answer (now).
    """
    if not _somebody_listens(redis.socket_path):
        redis.socket_path.unlink(missing_ok=True)
        return None
    async with contextlib.aclosing(connect(redis.url)) as client:
        try:
            for name, wanted in redis.essentials().items():
                found = (await client.execute_command("CONFIG GET", name)).get(name)
                if found != wanted:
                    raise _foreign(redis, f"its {name} is {found!r}, not {wanted!r}")
            await client.execute_command("CONFIG SET", "maxmemory", redis.maxmemory)
            return int((await client.execute_command("INFO", "server"))["process_id"])
        except ERRORS as error:
            if not isinstance(explain(error, redis.url), Retryable):
                raise _foreign(redis, str(error)) from error
            text = f"the server on {redis.socket_path} does not answer"
            raise OSError(f"{text} (process {_lock_holder(redis)}): {error}") from error


def _somebody_listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except BlockingIOError:
            pass  # it listens, but has more callers waiting than it takes
    return True


def _foreign(redis: EmbeddedRedis, why: str) -> ConfigError:
    return ConfigError(
        f"a server that is not ours answers on {redis.socket_path} ({why}): end it, or set "
        "REDIS_URL to use it as it is"
    )


def _become_server(redis: EmbeddedRedis, lifeline: int | None) -> NoReturn:
    """Turn this process into the server, with the lock and, if it has one, a guarded lifeline."""
    _lock(redis)
    os.umask(0o077)
    argv = redis.server_argv()
    if lifeline is not None:
        os.set_inheritable(lifeline, True)
        argv = python_module("cli.supervision.lifeline", str(lifeline), *argv)
    os.execv(argv[0], argv)


def _lock(redis: EmbeddedRedis) -> None:
    """Take the lock of the data directory for this process and the program that it becomes.

    Raises OSError while a server, or its forked rewrite of the file, has it: that may just be
    ending, so trying again is the supervisor's business.
    """
    lock = os.open(redis.directory / _LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OSError(
            f"a server (process {_lock_holder(redis)}) still works on {redis.directory}, but "
            f"nothing answers on {redis.socket_path}: end it"
        ) from None
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    os.set_inheritable(lock, True)


def _lock_holder(redis: EmbeddedRedis) -> str:
    try:
        return (redis.directory / _LOCK_NAME).read_text() or "unknown"
    except OSError:
        return "unknown"


async def _stand_in(
    redis: EmbeddedRedis, server: int, lifeline: int | None, progress: ProgressReporter
) -> int:
    """Be the supervisor's child in place of an adopted server: each ends with the other.

    The connection is open as long as the server lives, so that its process id is never used after
    its end.
    """
    reader, writer = await asyncio.open_unix_connection(str(redis.socket_path))
    print(f"adopted the server that was running already (process {server})", flush=True)
    leave = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leave.set)
    watch_parent(lifeline, leave.set)
    progress.ready()
    ended = asyncio.ensure_future(_end_of(reader))
    asked = asyncio.ensure_future(leave.wait())
    await asyncio.wait({ended, asked}, return_when=asyncio.FIRST_COMPLETED)
    for deadly in (signal.SIGTERM, signal.SIGKILL):
        if not ended.done():
            os.kill(server, deadly)
            await asyncio.wait({ended}, timeout=SHUTDOWN_TIMEOUT)
    asked.cancel()
    writer.close()
    return os.EX_OK if leave.is_set() else os.EX_TEMPFAIL


async def _end_of(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        await reader.read()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
