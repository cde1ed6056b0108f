"""The faults, and the seeded schedule by which they come.

A fault is injected only while entries wait in the stream, since one that hits an idle system
shows nothing; and it counts only then. How long it took until what waited is in the store is
measured for each.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from harness.waiting import Stuck
from proof.probe import Cursor
from proof.proxy import Proxy, ProxyFault
from proof.redis_refusals import WAYS, accept_again
from proof.stack import WORKERS, Stack
from proof.volatile import order_power_cut
from sessions.stream.redis import ERRORS

# Seconds between two looks for a backlog, and at the cursor after a fault.
_LOOK: Final = 0.003
# Seconds between two calls for a backlog.
_CALL: Final = 0.12
# Seconds from the sight of a backlog to the fault, at most: about what a batch takes.
_MOMENT: Final = 0.012
# Seconds in which a disturbed connection must have been used.
_TRAFFIC: Final = 1.5
# Seconds that a leader is frozen, below the silence after which a standby takes over, or above.
_NAP: Final = (0.1, 1.5)
_COMA: Final = (6.5, 9.0)
# Seconds in which the parent kills a leader without progress, with some to spare.
_KILLED_WITHIN: Final = 12.0
# Tries to freeze the leader at the wanted moment.
_FREEZINGS: Final = 100
# Seconds in which a leader that woke up may do harm, where that is what is looked for.
_AFTER: Final = 4.0
# Seconds that a disk or a memory stays full, or that Redis refuses otherwise.
_FULL: Final = (0.1, 1.0)
# Bytes that still fit into files of a full disk; most of the time not even the log's next page.
_ROOM: Final = (0, 65536)


@dataclass
class InjectedFault:
    """One fault: what, when (monotonic), what waited, and when that was in the store."""

    kind: str
    at: float
    waiting: Cursor
    recovered: float | None = None


@dataclass(frozen=True)
class Schedule:
    """How often which fault comes (by weight), and the mean pause between two, in seconds.

    While `overlap` faults are not recovered from there is no other. What is not recovered from
    after `patience` seconds never will be.
    """

    weights: dict[str, float]
    pause: float = 0.15
    overlap: int = 3
    patience: float = 40.0

    @property
    def cuts_power(self) -> bool:
        """Whether a disk that forgets is needed."""
        return "power cut" in self.weights


EVERYTHING: Final = Schedule(
    {
        "kill leader": 30,
        "kill standby": 6,
        "kill both workers": 4,
        "kill redis": 10,
        "kill web": 4,
        "kill publisher": 3,
        "nap of the leader": 5,
        "coma of the leader": 0.8,
        "coma of the leader while writing": 0.1,
        "disk full": 5,
        "redis disk full": 2,
        "memory full": 4,
        **{f"redis refuses: {way}": 1.0 for way in WAYS},
        **{f"{trouble} (publisher)": 4.0 for trouble in ProxyFault},
        **{f"{trouble} (worker)": 3.0 for trouble in ProxyFault},
        f"{ProxyFault.HALF_OPEN} (worker)": 0.5,
        f"{ProxyFault.HALF_OPEN} (publisher)": 1,
    }
)


# Both workers die at once and session files lose what was not synced.
POWER_CUTS: Final = Schedule({"power cut": 1}, overlap=1)


@dataclass
class Nemesis:
    """Injects faults into a stack until it is told to stop."""

    stack: Stack
    schedule: Schedule
    chance: random.Random
    injected: list[InjectedFault] = field(default_factory=list[InjectedFault])

    def __post_init__(self) -> None:
        self._faults = self._table()
        self._waiting: list[InjectedFault] = []
        self._over = False
        self._next_call = 0.0

    async def run(self, seconds: float) -> None:
        """Inject for so long, heal everything, and see the stack recover; raises Stuck."""
        deadline = time.monotonic() + seconds
        watcher = asyncio.create_task(self._watch(), name="recovery")
        try:
            while time.monotonic() < deadline:
                await self._one(deadline)
                await asyncio.sleep(self.chance.expovariate(1 / self.schedule.pause))
        finally:
            await self.heal()
            self._over = True
            await watcher

    async def heal(self) -> None:
        """Undo whatever lasts."""
        for name in WORKERS:
            self.stack.children.kill(name, signal.SIGCONT)
            self._limit_files(name, resource.RLIM_INFINITY)
        self.stack.worker_proxy.heal()
        self.stack.publisher_proxy.heal()
        await self.stack.stream.relax(self.stack.redis.maxmemory)

    async def _one(self, deadline: float) -> None:
        """Wait for a backlog, and inject the next fault."""
        [kind] = self.chance.choices([*self.schedule.weights], [*self.schedule.weights.values()])
        while (waiting := await self._moment()) is None:
            if time.monotonic() > deadline:
                return
            if len(self._waiting) < self.schedule.overlap:
                self._call()
            await asyncio.sleep(_LOOK)
        fault = InjectedFault(kind, time.monotonic(), waiting)
        # Some faults last, and recovery need not wait for their end.
        self._waiting.append(fault)
        if await self._faults[kind]():
            self.injected.append(fault)
        elif fault.recovered is None:
            self._waiting.remove(fault)

    def _call(self) -> None:
        """Let a publisher publish something, but not all the time: faults want a backlog."""
        now = time.monotonic()
        if now >= self._next_call:
            self.stack.children.kill(self.chance.choice(self.stack.publishers), signal.SIGUSR1)
            self._next_call = now + _CALL

    async def _moment(self) -> Cursor | None:
        """The newest entry, if something waits and goes on waiting a moment later; else None.

        Without that moment every fault would come as a burst arrives, and none while the leader
        is at it.
        """
        if len(self._waiting) >= self.schedule.overlap or await self.backlog() is None:
            return None
        await asyncio.sleep(self.chance.uniform(0, _MOMENT))
        return await self.backlog()

    async def backlog(self) -> Cursor | None:
        """The newest entry, if the store has not applied it; None where nothing waits.

        The stream is asked first: what the store has not applied after that did wait.
        """
        last, cursor = await self.stack.stream.last_id(), self.stack.store.cursor()
        if last is None or cursor is None or cursor.applied >= last:
            return None
        return Cursor(cursor.epoch, last)

    async def _watch(self) -> None:
        """Note for each fault when the store had caught up with what waited at its time."""
        while self._waiting or not self._over:
            cursor = self.stack.store.cursor()
            now = time.monotonic()
            for fault in [*self._waiting]:
                if cursor is not None and cursor >= fault.waiting:
                    fault.recovered = now
                    self._waiting.remove(fault)
                elif now - fault.at > self.schedule.patience:
                    raise Stuck(f"{fault.kind}: no recovery within {self.schedule.patience:g} s")
            await asyncio.sleep(_LOOK)

    # -- faults: each says whether it happened -----------------------------------------------

    def _table(self) -> dict[str, Callable[[], Awaitable[bool]]]:
        kill = self._kill
        table: dict[str, Callable[[], Awaitable[bool]]] = {
            "kill leader": lambda: kill(self.stack.leader()),
            "kill standby": lambda: kill(self.stack.standby()),
            "kill both workers": lambda: kill(*WORKERS),
            "kill redis": lambda: kill("redis"),
            "kill web": lambda: kill("web"),
            "kill publisher": lambda: kill(self.chance.choice(self.stack.publishers)),
            "nap of the leader": self._nap,
            "coma of the leader": self._coma,
            "coma and after": self._coma_and_after,
            "coma of the leader while writing": self._coma_while_writing,
            "disk full": self._disk_full,
            "redis disk full": self._redis_disk_full,
            "memory full": self._memory_full,
            "power cut": self._power_cut,
        }
        for way in WAYS:
            table[f"redis refuses: {way}"] = partial(self._refuse, way)
        for trouble in ProxyFault:
            for who in ("publisher", "worker"):
                table[f"{trouble} ({who})"] = partial(self._disturb, trouble, who)
        return table

    async def _kill(self, *names: str | None) -> bool:
        hit = [name for name in names if name is not None and self.stack.children.kill(name)]
        return bool(hit)

    async def _power_cut(self) -> bool:
        """Kill both workers, and let session files forget what was not synced."""
        order_power_cut(self.stack.setup.folder)
        return await self._kill(*WORKERS)

    async def _nap(self) -> bool:
        """Freeze the leader for less than its lease lasts."""
        leader = self.stack.leader()
        if leader is None or not self.stack.children.kill(leader, signal.SIGSTOP):
            return False
        await self._sleep_of(leader, self.chance.uniform(*_NAP))
        return True

    async def _coma(self) -> bool:
        """Freeze the leader past its lease; it wakes up when the other one leads."""
        leader = await self._frozen(writing=False)
        if leader is None:
            return False
        await self._sleep_of(leader, self.chance.uniform(*_COMA))
        return True

    async def _coma_and_after(self) -> bool:
        """The same, and then turns for both of them."""
        if not await self._coma():
            return False
        awake = time.monotonic()
        while time.monotonic() < awake + _AFTER:
            self._call()
            await asyncio.sleep(_CALL)
        return True

    async def _coma_while_writing(self) -> bool:
        """Freeze the leader with the store's lock in its hand: only its parent can help."""
        leader = await self._frozen(writing=True)
        if leader is None:
            return False
        pid = self.stack.children.pids[leader]
        with contextlib.suppress(Stuck):
            await self.stack.until(
                lambda: self.stack.children.pids.get(leader) != pid, "it is killed", _KILLED_WITHIN
            )
        self.stack.children.kill(leader, signal.SIGCONT)
        return True

    async def _frozen(self, *, writing: bool) -> str | None:
        """Freeze the leader while it is in a transaction, or is in none; None where that fails."""
        for _ in range(_FREEZINGS):
            leader = self.stack.leader()
            if self.stack.standby() is None or leader is None:
                return None
            self.stack.children.kill(leader, signal.SIGSTOP)
            await asyncio.sleep(_LOOK)
            if self.stack.is_writing(leader) is writing:
                return leader
            self.stack.children.kill(leader, signal.SIGCONT)
            self._call()
            await asyncio.sleep(self.chance.uniform(0, _MOMENT))
        return None

    async def _sleep_of(self, name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.stack.children.kill(name, signal.SIGCONT)

    async def _disk_full(self) -> bool:
        leader = self.stack.leader()
        if leader is None or not self._limit_files(leader, self.chance.randint(*_ROOM)):
            return False
        await asyncio.sleep(self.chance.uniform(*_FULL))
        self._limit_files(leader, resource.RLIM_INFINITY)
        return True

    async def _redis_disk_full(self) -> bool:
        """Redis ends by itself when it cannot write; its successor has room again."""
        pid = self.stack.children.pids.get("redis")
        if pid is None or not self._limit_files("redis", 0):
            return False
        self.stack.children.forgive(pid)
        return True

    def _limit_files(self, name: str, size: int) -> bool:
        """Let no file of a process grow beyond a size; whether that is possible here."""
        pid = self.stack.children.pids.get(name)
        if pid is None or sys.platform != "linux":
            return False
        try:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        except ProcessLookupError:
            return False
        return True

    async def _memory_full(self) -> bool:
        await self.stack.stream.squeeze()
        await asyncio.sleep(self.chance.uniform(*_FULL))
        await self.stack.stream.relax(self.stack.redis.maxmemory)
        return True

    async def _refuse(self, way: str) -> bool:
        """Let Redis refuse for a moment; it may end meanwhile, by a fault before this one."""
        redis = self.stack.stream.redis
        try:
            async with WAYS[way](self.stack.redis.url, redis):
                await asyncio.sleep(self.chance.uniform(*_FULL))
        except (*ERRORS, TimeoutError):
            return False
        finally:
            await accept_again(redis)
        return True

    async def _disturb(self, trouble: ProxyFault, who: str) -> bool:
        proxy: Proxy = self.stack.worker_proxy if who == "worker" else self.stack.publisher_proxy
        disturbing = asyncio.create_task(proxy.disturb(trouble, self.chance, within=_TRAFFIC))
        while not disturbing.done():
            self._call()
            await asyncio.wait([disturbing], timeout=_CALL)
        return disturbing.result()
