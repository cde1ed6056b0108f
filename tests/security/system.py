"""`turnstream up` as a program, watched: its web process, that one's memory and restarts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from harness.program import memory_mb
from harness.up import Up
from sessions.access.tokens import TokenScope, create_token

AGENTS: Final = ("anna", "mallory")
# Seconds between two looks at the memory.
_LOOK: Final = 0.05


@dataclass
class Installation:
    """One installation at work."""

    url: str
    pid: int
    tokens: Mapping[str, str]
    peak: int = 0
    webs: set[int] = field(default_factory=set[int])

    def web(self) -> int:
        """The process id of the web process; 0 while there is none."""
        found = [pid for pid in _children(self.pid) if b"cli.supervision.web" in _argv(pid)]
        return found[0] if found else 0

    def memory(self) -> int:
        """Bytes that the web process holds now."""
        return int(memory_mb(self.web(), "VmRSS") * 1024 * 1024)

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


def _settings(workspace: Path, model: str, more: str) -> str:
    """Anna echoes; mallory has a model that is the attacker's."""
    return f"""
[turnstream]
workspace = {json.dumps(str(workspace))}
{more}
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


@contextmanager
def running(folder: Path, model: str, more: str = "") -> Iterator[Installation]:
    """The installation, from ready to stopped. `model` is the address of mallory's model.

    `more` are settings of `[turnstream]`. On the same folder again, it goes on where it was.
    """
    workspace = folder / "w"
    config = _configured(folder, _settings(workspace, model, more))
    with Up.running(workspace, "--config", str(config)) as up:
        assert up.url is not None
        tokens = {a: create_token(workspace, scope=TokenScope.SEND, agent=a)[0] for a in AGENTS}
        tokens["admin"] = (workspace / "token").read_text().strip()
        yield Installation(up.url, up.pid, tokens)


__all__ = ["Installation", "running"]
