"""What a person would look at first when something is wrong, or before it is: one check a line."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import stat
import sys
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from cli.supervision.embedded_redis import OLDEST, find_server
from cli.supervision.up import free_port
from cli.system import TargetSystem
from ingest.channels.checks import ChannelCheck, check_channels
from sessions import make_session_backend
from sessions.errors import ConfigError, SessionError
from sessions.process.config.notices import ConfigNotice, NoticeKind
from sessions.process.private import exposed_settings, exposed_workspace
from sessions.process.settings import Settings
from sessions.store.capabilities import Embedded, LocalStore
from sessions.store.factory import local_store
from sessions.stream.redis import ERRORS, RedisClient, RedisError, connect, explain, redacted
from sessions.transfer.others import check_others, told_of_others

# What no accepted event survives without, by the name of Redis' setting.
_WANTED: Final = {
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    "maxmemory-policy": "noeviction",
}
# Bytes of free space below which a disk is as good as full.
_SCARCE: Final = 256 * 1024 * 1024


class CheckStatus(StrEnum):
    """How a check ended. A note is worth knowing and nothing to do about."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    verdict: CheckStatus
    text: str


async def examine(
    system: TargetSystem,
    environ: Mapping[str, str],
    *,
    settings_file: Path | None = None,
    notices: Iterable[ConfigNotice] = (),
) -> list[Check]:
    """All checks, in the order in which a person would make them.

    `notices` are what was to be told when the settings file was read.
    """
    settings = system.settings
    checks = [_python(), _sqlite(settings), *_workspace(settings.workspace)]
    if settings_file is not None:
        checks.append(_settings_file(settings_file))
    checks.extend(map(_notice, notices))
    checks.append(await _store(settings))
    checks.extend([check async for check in _other_stores(settings)])
    checks.append(_server(environ))
    checks.extend([check async for check in _redis(system, environ)])
    checks.append(_port(system))
    checks.extend([_channel(found) async for found in check_channels(settings, environ)])
    return checks


def _python() -> Check:
    text = f"{platform.python_version()} ({sys.executable})"
    good = (3, 11) <= sys.version_info[:2] < (3, 14)
    return Check("python", CheckStatus.OK if good else CheckStatus.WARNING, text)


def _sqlite(settings: Settings) -> Check:
    """The library, which matters only where more than one connection could write."""
    store = _local(settings)
    if not isinstance(store, Embedded):
        return Check("sqlite", CheckStatus.NOTE, "not used by this backend")
    text, fixed, is_fixed = store.library()
    if is_fixed:
        return Check("sqlite", CheckStatus.OK, text)
    writers = writing_processes(store.path)
    if len(writers) > 1:
        return Check(
            "sqlite",
            CheckStatus.WARNING,
            f"use {fixed} or newer: {text} may lose commits if two connections write, and the "
            f"processes {', '.join(map(str, writers))} have the store open for writing",
        )
    return Check(
        "sqlite", CheckStatus.OK, f"{text}, sound with one writer; {fixed} is sound with more"
    )


def writing_processes(path: Path) -> list[int]:
    """The processes that have the file open for writing, as far as /proc shows them to us."""
    found: set[int] = set()
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(descriptor) == str(path.resolve()) and _writes(descriptor):
                found.add(int(descriptor.parts[2]))
        except OSError:
            continue  # ended meanwhile, or another user's
    return sorted(found)


def _writes(descriptor: Path) -> bool:
    facts = (descriptor.parent.parent / "fdinfo" / descriptor.name).read_text()
    flags = next(line.split()[1] for line in facts.splitlines() if line.startswith("flags:"))
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY


def _workspace(path: Path) -> Iterator[Check]:
    if not path.is_dir():
        yield Check("workspace", CheckStatus.NOTE, f"{path} is not there yet; `up` makes it")
        return
    found = path.stat()
    text = f"{path}, mode {stat.S_IMODE(found.st_mode):04o}"
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        yield Check("workspace", CheckStatus.FAILED, f"{text}: this user may not read and write it")
    elif exposed := exposed_workspace(path):
        yield Check("workspace", CheckStatus.WARNING, "; ".join(exposed))
    else:
        yield Check("workspace", CheckStatus.OK, text)
    free = shutil.disk_usage(path).free
    verdict = CheckStatus.OK if free >= _SCARCE else CheckStatus.WARNING
    yield Check("disk", verdict, f"{free / 1024**3:,.1f} GiB free")


def _settings_file(path: Path) -> Check:
    exposed = exposed_settings(path)
    verdict = CheckStatus.WARNING if exposed else CheckStatus.OK
    return Check("settings file", verdict, "; ".join(exposed) or str(path))


def _notice(notice: ConfigNotice) -> Check:
    harmless = notice.kind is NoticeKind.NO_EFFECT
    return Check("settings", CheckStatus.NOTE if harmless else CheckStatus.WARNING, str(notice))


async def _store(settings: Settings) -> Check:
    try:
        async with make_session_backend(
            settings.workspace, settings.channels.session_backend
        ) as backend:
            store_id = await backend.store_id()
    except (SessionError, OSError) as error:
        return Check("store", CheckStatus.FAILED, str(error))
    name = settings.channels.session_backend
    if store_id is None:
        return Check("store", CheckStatus.NOTE, f"{name}, not made yet; the first worker makes it")
    local = _local(settings)
    version = f", schema version {local.schema_version()}" if local is not None else ""
    return Check("store", CheckStatus.OK, f"{name} {store_id}{version}")


async def _other_stores(settings: Settings) -> AsyncGenerator[Check]:
    """What else lies in the workspace; failed if no service would start because of it."""
    workspace, backend = settings.workspace, settings.channels.session_backend
    if not workspace.is_dir():
        return
    try:
        await check_others(workspace, backend)
        for text in await told_of_others(workspace, backend):
            yield Check("other store", CheckStatus.NOTE, text)
    except SessionError as error:
        yield Check("other store", CheckStatus.FAILED, str(error))


def _local(settings: Settings) -> LocalStore | None:
    return local_store(settings.workspace, settings.channels.session_backend)


def _server(environ: Mapping[str, str]) -> Check:
    """The Redis that `up` would start."""
    try:
        server = find_server(environ.get("PATH"))
    except ConfigError as error:
        return Check("redis server", CheckStatus.NOTE, str(error))
    text = f"{server.path} {server.version} ({server.origin}), sha256 {_sha256(server.path)}"
    return Check("redis server", CheckStatus.OK, text)


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _redis(system: TargetSystem, environ: Mapping[str, str]) -> AsyncGenerator[Check]:
    """The Redis that runs, and whether it keeps what it accepts."""
    url = system.redis_url
    if url is None:
        yield Check("redis", CheckStatus.NOTE, "none runs; `up` starts its own")
        return
    async with aclosing(connect(url)) as client:
        try:
            yield await _redis_version(client, url)
            yield await _redis_settings(client)
        except ERRORS as error:
            yield Check("redis", CheckStatus.FAILED, str(explain(error, url)))


async def _redis_version(client: RedisClient, url: str) -> Check:
    info: dict[str, Any] = await client.execute_command("INFO", "server")
    name = "valkey" if "valkey_version" in info else "redis"
    version = str(info.get(f"{name}_version", "0"))
    old = tuple(int(part) for part in version.split(".")[:3]) < OLDEST
    text = f"{name} {version} on {redacted(url)}"
    return Check("redis", CheckStatus.FAILED if old else CheckStatus.OK, text)


async def _redis_settings(client: RedisClient) -> Check:
    try:
        found = {
            name: (await client.execute_command("CONFIG GET", name)).get(name) for name in _WANTED
        }
    except RedisError as error:
        return Check("redis settings", CheckStatus.NOTE, f"cannot be read: {error}")
    wrong = [
        f"{name} is {found[name]}, must be {wanted}"
        for name, wanted in _WANTED.items()
        if found[name] != wanted
    ]
    if wrong:
        text = f"accepted events may be lost: {'; '.join(wrong)}"
        return Check("redis settings", CheckStatus.WARNING, text)
    text = ", ".join(f"{name} {value}" for name, value in found.items())
    return Check("redis settings", CheckStatus.OK, text)


def _port(system: TargetSystem) -> Check:
    gateway = system.settings.gateway
    if system.running is not None:
        return Check("port", CheckStatus.OK, f"turnstream up listens on {system.running.url}")
    try:
        free_port(gateway.host, gateway.port)
    except ConfigError as error:
        return Check("port", CheckStatus.WARNING, str(error))
    return Check("port", CheckStatus.OK, f"{gateway.port} of {gateway.host} is free")


def _channel(found: ChannelCheck) -> Check:
    """What the platform of a channel says of it. One that cannot be asked is a warning."""
    text = "; ".join(found.problems) or "its platform takes the token"
    if found.works is False:
        return Check(found.channel, CheckStatus.FAILED, text)
    verdict = CheckStatus.WARNING if found.problems else CheckStatus.OK
    return Check(found.channel, verdict, text)
