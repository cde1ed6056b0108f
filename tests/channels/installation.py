"""Redis, a worker, an api and two replicas of ingest, as processes, with all channels at once."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self

import httpx

from harness.program import Program
from harness.redis import RedisServer
from harness.services import free_port
from harness.system import PREFIX, SystemUnderTest
from harness.waiting import wait_until
from sessions.access.tokens import ensure_admin_token
from sessions.stream.lanes.lanes import Lanes
from sessions.stream.lanes.values import lane_of
from tests.channels.kits import KITS
from tests.channels.kits.base import AGENTS, Kit, Said
from tests.channels.model import Model
from tests.ingest.serving import serving

REPLICAS: Final = 2
# Seconds until a reply that nobody takes is parked.
PARKED_AFTER: Final = 2
_QUICK: Final[Mapping[str, object]] = {"reply_park_secs": PARKED_AFTER}
# Seconds between two looks over HTTP.
_LOOK: Final = 0.05


class Installation:
    """Made by `running`. Tests keep apart by their people."""

    def __init__(self, system: SystemUnderTest, model: Model, kits: Mapping[str, Kit]) -> None:
        self.model = model
        self.kits = kits
        self.workspace = system.workspace
        self.api = f"http://127.0.0.1:{free_port()}"
        self.ingests = [f"http://127.0.0.1:{free_port()}" for _ in range(REPLICAS)]
        self.admin = ensure_admin_token(system.workspace)
        self.programs: list[Program] = []
        self._system = system
        self._replicas: list[Program] = []
        self._lanes = Lanes(system.client, url=system.redis_url, prefix=PREFIX)
        headers = {"Authorization": f"Bearer {self.admin}"}
        self.http = httpx.AsyncClient(
            base_url=self.api, headers=headers, trust_env=False, timeout=30
        )

    @classmethod
    @asynccontextmanager
    async def running(
        cls, folder: Path, *, channels: Mapping[str, object] = _QUICK
    ) -> AsyncIterator[Self]:
        """One that takes messages by all channels; `channels` are settings of all of them."""
        kits = {kit.name: kit() for kit in KITS}
        async with SystemUnderTest.running(folder) as system, AsyncExitStack() as stack:
            model = Model()
            address = await stack.enter_async_context(serving(model.app()))
            for kit in kits.values():
                await kit.prepare(stack)
            installation = cls(system, model, kits)
            await stack.enter_async_context(installation.http)
            tables = _tables(kits.values(), f"http://{address}", channels)
            installation._write(tables)
            await installation._start()
            for kit in kits.values():
                await kit.open(installation, stack)
            yield installation

    # -- processes ---------------------------------------------------------------------------

    @property
    def processes(self) -> list[int]:
        """The ids of the services that run."""
        return [program.pid for program in self.programs if program.runs]

    @property
    def redis(self) -> RedisServer:
        """The Redis of this installation alone."""
        return self._system.redis

    async def kill_ingest(self) -> None:
        """kill -9 for every replica."""
        for replica in self._replicas:
            await replica.stop(signal.SIGKILL)

    async def start_ingest(self) -> None:
        """Start every replica at its address, and wait until they are ready."""
        own = {"api_url": self.api, "token": self.admin}
        self._replicas = [self._launch("ingest", url, **own) for url in self.ingests]
        for url in self.ingests:
            await self._is_ready(url)

    async def _start(self) -> None:
        self.programs.append(await self._system.worker(self._config))
        self._launch("api", self.api)
        await self._is_ready(self.api)
        await self.start_ingest()

    def _launch(self, module: str, url: str, **own: str) -> Program:
        port = url.rpartition(":")[2]
        program = self._system.start(module, self._config, port=port, **own)
        self.programs.append(program)
        return program

    async def _is_ready(self, url: str) -> None:
        async def is_ready() -> bool:
            try:
                return (await self.http.get(f"{url}/readyz")).is_success
            except httpx.HTTPError:
                return False

        await wait_until(is_ready, f"{url} is ready", within=30, pause=_LOOK)

    @property
    def _config(self) -> str:
        return f"--config={self.workspace.parent / 'suite.toml'}"

    def _write(self, tables: Mapping[str, Mapping[str, object]]) -> None:
        path = self.workspace.parent / "suite.toml"
        path.touch(mode=0o600)
        # JSON's texts, numbers and lists are TOML's, too.
        lines = [
            line
            for name, table in tables.items()
            for line in (f"[{name}]", *(f"{key} = {json.dumps(table[key])}" for key in table))
        ]
        path.write_text("\n".join(lines), encoding="utf-8")

    # -- looking -----------------------------------------------------------------------------

    async def rows(self, session: str) -> list[dict[str, Any]]:
        """The stored messages of the session, oldest first; none if there is no such session."""
        answer = await self.http.post(
            "/api/tools/sessions_history", json={"session_id": session, "limit": 1000}
        )
        return answer.json()["data"]["messages"]

    async def history(self, session: str) -> list[tuple[str, str]]:
        """The same as (role, content)."""
        return [(row["role"], row["content"]) for row in await self.rows(session)]

    async def kept(self, session: str) -> list[dict[str, Any]]:
        """The session's replies that no platform has taken, in their order."""
        answer = await self.http.get("/api/replies", params={"session": session})
        assert answer.is_success, answer.text
        return answer.json()["replies"]

    async def forgotten(self, kit: Kit, message: Said) -> None:
        """Wait until nothing is kept of the session's replies."""
        session = kit.session(message)

        async def is_empty() -> bool:
            return await self.kept(session) == []

        await wait_until(is_empty, f"no reply of {session} is kept", within=30, pause=_LOOK)

    async def retry(self, turn: str) -> None:
        """Send an undelivered reply again."""
        answer = await self.http.post(f"/api/replies/{turn}/retry")
        assert answer.is_success, answer.text

    async def give(self, session: str, agent: str) -> None:
        """Make the session that agent's, as an administrator may."""
        answer = await self.http.put(f"/api/sessions/{session}/owner", json={"agent": agent})
        assert answer.is_success, answer.text

    async def is_taken(self, session: str, agent: str, turn: str) -> bool:
        """Whether the message is in its lane, or was."""
        if await self._lanes.contains(lane_of(session, agent), turn):
            return True
        return (await self.http.get(f"/api/outcomes/{turn}")).is_success

    async def quiet(self, session: str, agent: str) -> None:
        """Wait until nothing runs or waits in the session."""

        async def is_free() -> bool:
            return await self._lanes.at_work(lane_of(session, agent)) is None

        await wait_until(is_free, f"{session} is free", within=30)

    async def stored(self, kit: Kit, message: Said) -> None:
        """Wait until the answer to it is in the store."""
        session, wanted = kit.session(message), ("assistant", message.answer)

        async def is_there() -> bool:
            return wanted in await self.history(session)

        await wait_until(is_there, f"{session} has its answer", within=30, pause=_LOOK)

    async def asked(self, message: Said) -> None:
        """Wait until the agent has it."""
        await wait_until(lambda: self.model.runs(message.note), "the agent is asked", within=30)

    async def begun(self, message: Said) -> None:
        """Wait until the agent has begun to answer."""
        await wait_until(lambda: message.note in self.model.begun, "an answer", within=30)

    async def has_one_turn(self, kit: Kit, message: Said) -> None:
        """The message is the agent's, one turn and one reply, for the store and for the person."""
        session = kit.session(message)
        await self.quiet(session, message.agent)
        assert await self.history(session) == [
            ("user", message.text),
            ("assistant", message.answer),
        ]
        shown = (await self.http.get("/api/sessions", params={"limit": 1000})).json()["sessions"]
        [owner] = [row["agent_alias"] for row in shown if row["session_key"] == session]
        assert owner == message.agent
        assert self.model.runs(message.note) == [message.agent]
        assert kit.texts(message.person, message.agent) == [message.answer]


def _tables(
    kits: Collection[Kit], model: str, channels: Mapping[str, object]
) -> Mapping[str, Mapping[str, object]]:
    tables: dict[str, Mapping[str, object]] = {"channels": channels}
    for agent in AGENTS:
        listed = [name for kit in kits if (name := kit.channel(agent)) is not None]
        tables[f"agents.{agent}"] = {
            "provider": "openai",
            "base_url": f"{model}/{agent}/v1",
            "model": "suite",
            "channels": listed,
        }
    for kit in kits:
        tables |= kit.settings()
    return tables
