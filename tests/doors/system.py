"""`turnstream up` as a program, watched: its web process, that one's memory and restarts."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from sessions.access.tokens import TokenScope, create_token
from tests.helpers import wait_until

AGENTS: Final = ("anna", "mallory")
# Seconds between two looks at the memory.
_LOOK: Final = 0.05


@dataclass
class System:
    """One installation at work."""

    url: str
    process: Process
    tokens: Mapping[str, str]
    peak: int = 0
    webs: set[int] = field(default_factory=set[int])

    def web(self) -> int:
        """The process id of the web process; 0 while there is none."""
        found = [pid for pid in _children(self.process.pid) if b"cli.supervision.web" in _argv(pid)]
        return found[0] if found else 0

    def memory(self) -> int:
        """Bytes that the web process holds now."""
        with suppress(OSError):
            for line in Path(f"/proc/{self.web()}/status").read_text().splitlines():
                if line.startswith("VmRSS"):
                    return int(line.split()[1]) * 1024
        return 0

    async def watch(self) -> None:
        """Note the largest memory and all web processes, until cancelled."""
        while True:
            self.peak = max(self.peak, self.memory())
            if web := self.web():
                self.webs.add(web)
            await asyncio.sleep(_LOOK)

    def begin(self) -> None:
        """Forget what was noted."""
        self.peak, self.webs = self.memory(), {self.web()}


def _argv(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _children(pid: int) -> list[int]:
    try:
        tasks = [*Path(f"/proc/{pid}/task").iterdir()]
        found = [int(p) for t in tasks for p in (t / "children").read_text().split()]
    except OSError:
        return []
    return [*found, *(below for each in found for below in _children(each))]


def _settings(workspace: Path, model: str, port: int, more: str) -> str:
    """Anna echoes; mallory has a model that is the attacker's."""
    return f"""
[turnstream]
workspace = {json.dumps(str(workspace))}
{more}
[gateway]
port = {port}
[agents.anna]
[agents.mallory]
provider = "openai"
base_url = {json.dumps(model)}
model = "evil"
"""


def _configured(folder: Path, settings: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.toml"
    config.write_text(settings)
    return config


def free_port() -> int:
    """A port that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@asynccontextmanager
async def running(folder: Path, model: str, more: str = "") -> AsyncIterator[System]:
    """The installation, from ready to stopped. `model` is the address of mallory's model.

    `more` are settings of `[turnstream]`. On the same folder again, it goes on where it was.
    """
    workspace, port = folder / "w", free_port()
    config = _configured(folder, _settings(workspace, model, port, more))
    argv = [sys.executable, "-m", "cli", "--config", str(config), "up"]
    environ = {k: v for k, v in os.environ.items() if not k.startswith("TURNSTREAM_")}
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*argv, stdout=log, stderr=log, env=environ)
    try:
        url = f"http://127.0.0.1:{port}"
        await _ready(url, process)
        tokens = {a: create_token(workspace, scope=TokenScope.SEND, agent=a)[0] for a in AGENTS}
        tokens["admin"] = (workspace / "token").read_text().strip()
        yield System(url, process, tokens)
    finally:
        process.terminate()
        async with asyncio.timeout(30):
            await process.wait()


async def _ready(url: str, process: Process) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:

        async def is_ready() -> Any:
            assert process.returncode is None, "up has ended"
            with suppress(httpx.HTTPError):
                return (await http.get(f"{url}/readyz")).is_success
            return False

        await wait_until(is_ready, within=60)


__all__ = ["System", "running"]
