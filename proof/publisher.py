"""`publisher`: a process that publishes seeded sessions and keeps a history of what it was told.

Each of its tasks has an entry point of its own and sessions of its own, and publishes at a rate;
SIGUSR1 calls for a burst at once. A session never has more than one burst unconfirmed: the same ids
are sent again until somebody confirms them, and only at a stop, or when the process is killed, is a
burst left in doubt.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

from proof.entry_points import (
    ClientEntryPoint,
    EntryPoint,
    HttpEntryPoint,
    PublishRefused,
    PublishUnconfirmed,
    XaddEntryPoint,
)
from proof.history import HistoryWriter, Step
from proof.script import SessionScript, session_key
from sessions.process.lifeline import LIFELINE_VARIABLE, inherited_pipe, watch_parent

# Sessions that a task talks in at the same time, and how long each of them gets.
_OPEN_SESSIONS: Final = 40
_LONGEST_SESSION: Final = 60
# Sizes of bursts, and how often each comes: mostly small, sometimes nearly a batch of the worker.
_BURSTS: Final = ((1, 4), (10, 4), (40, 2), (200, 1))
# Size of a burst that was called for: some ten milliseconds of work.
_CALLED: Final = 30
# Share of bursts after which the publisher reads what it has published.
_READ_BACK: Final = 0.3
# Seconds between two tries with the same ids.
_PAUSE: Final = 0.05
# Seconds between two looks at the tasks.
_LOOK: Final = 0.2
# Seconds after a stop within which a burst in doubt is still sent again.
_LAST_TRIES: Final = 20.0


class PublisherSignals:
    """What a publisher is told from outside: to publish now, or to stop."""

    def __init__(self) -> None:
        self.stopping = False
        self._sign = asyncio.Event()

    def stop(self) -> None:
        """Publish no more."""
        self.stopping = True
        self._sign.set()

    def call(self) -> None:
        """Publish something now."""
        self._sign.set()

    async def called(self, *, within: float) -> bool:
        """Wait so many seconds, or until somebody calls; whether it was a call to publish."""
        try:
            await asyncio.wait_for(self._sign.wait(), within)
        except TimeoutError:
            return False
        if not self.stopping:
            self._sign.clear()
        return not self.stopping


class Publisher:
    """One task: an entry point, some sessions, a rate in events a second."""

    def __init__(
        self,
        entry_point: EntryPoint,
        history: HistoryWriter,
        signs: PublisherSignals,
        *,
        tag: str,
        seed: str,
        rate: float,
    ) -> None:
        self._entry_point = entry_point
        self._history = history
        self._signs = signs
        self._tag = tag
        self._chance = random.Random(seed)
        self._rate = rate
        self._sessions: list[SessionScript] = []
        self._made = 0

    async def run(self) -> None:
        """Publish bursts at the rate until it is time to stop."""
        while not self._signs.stopping:
            sizes, weights = zip(*_BURSTS, strict=True)
            [most] = self._chance.choices(sizes, weights)
            size = self._chance.randint(1, most)
            await self._deliver(self._burst(size))
            if self._entry_point.atomic and self._chance.random() < 0.05:
                await self._deliver([self._script().invalid()])
            while await self._signs.called(within=size / self._rate):
                await self._deliver(self._burst(self._chance.randint(1, _CALLED)))

    def _burst(self, size: int) -> list[Step]:
        """The next steps: of atomic entry points several of a session, else one of each at most."""
        if self._entry_point.atomic:
            return [self._script().next() for _ in range(size)]
        scripts = {id(script): script for script in (self._script() for _ in range(size))}
        return [script.next() for script in scripts.values()]

    def _script(self) -> SessionScript:
        """A session to go on with; one that is long enough gives way to a new one."""
        place = self._chance.randrange(_OPEN_SESSIONS)
        if place >= len(self._sessions):
            self._sessions.append(self._new_script())
            return self._sessions[-1]
        if self._sessions[place].length >= _LONGEST_SESSION:
            self._sessions[place] = self._new_script()
        return self._sessions[place]

    def _new_script(self) -> SessionScript:
        self._made += 1
        key, tag = session_key(self._tag, self._made), f"{self._tag}:{self._made}"
        return SessionScript(key, tag, self._chance, plain=not self._entry_point.atomic)

    async def _deliver(self, steps: Sequence[Step]) -> None:
        """Send the steps until it is known what became of them, or too late to go on."""
        numbers = self._history.invoke(steps)
        while True:
            try:
                stream_ids = await self._entry_point.publish(steps)
            except PublishRefused as error:
                self._history.refused(numbers, str(error))
                return
            except PublishUnconfirmed as error:
                self._history.unknown(numbers, str(error))
                await asyncio.sleep(_PAUSE)
            else:
                self._history.accepted(numbers, stream_ids)
                await self._read_back(steps[-1])
                return

    async def _read_back(self, step: Step) -> None:
        """Now and then, look whether what was just confirmed can be read."""
        if self._chance.random() < _READ_BACK:
            shown = await self._entry_point.shows(step.id)
            if shown is not None:
                self._history.read(step.id, shown=shown)


async def run(arguments: argparse.Namespace) -> None:
    """Publish until SIGTERM, and then until nothing is in doubt."""
    signs = PublisherSignals()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, signs.stop)
    loop.add_signal_handler(signal.SIGUSR1, signs.call)
    watch_parent(inherited_pipe(os.environ, LIFELINE_VARIABLE), signs.stop)
    # A publisher that was killed is another one when it comes back, with sessions of its own.
    life = len([*arguments.folder.glob(f"{arguments.name}-*")])
    name = f"{arguments.name}-{life}"
    history = HistoryWriter.create(arguments.folder / f"{name}.jsonl")
    entry_points = _entry_points(arguments)
    rate = arguments.rate / len(entry_points)
    seeds = [f"{arguments.seed}/{name}/{number}" for number in range(len(entry_points))]
    tasks = [
        asyncio.create_task(_publish(entry_point, history, signs, f"{name}.{number}", seed, rate))
        for number, (entry_point, seed) in enumerate(zip(entry_points, seeds, strict=True))
    ]
    await _finish(tasks, signs)


def _entry_points(
    arguments: argparse.Namespace,
) -> Sequence[AbstractAsyncContextManager[EntryPoint]]:
    entry_points = [
        ClientEntryPoint.opened(arguments.redis),
        XaddEntryPoint.opened(arguments.redis),
    ]
    if arguments.web:
        entry_points.append(HttpEntryPoint.opened(arguments.web, os.environ["TURNSTREAM_TOKEN"]))
    return entry_points


async def _publish(
    opened: AbstractAsyncContextManager[EntryPoint],
    history: HistoryWriter,
    signs: PublisherSignals,
    tag: str,
    seed: str,
    rate: float,
) -> None:
    async with opened as entry_point:
        await Publisher(entry_point, history, signs, tag=tag, seed=seed, rate=rate).run()


async def _finish(tasks: Sequence[asyncio.Task[None]], signs: PublisherSignals) -> None:
    """Wait for the stop or the first error; then for what is still in doubt, for a while."""
    pending = set(tasks)
    while pending and not signs.stopping:
        done, pending = await asyncio.wait(pending, timeout=_LOOK)
        if any(task.exception() for task in done):
            signs.stop()
    _, late = await asyncio.wait(tasks, timeout=_LAST_TRIES)
    for task in late:
        task.cancel()
    for task in set(tasks) - late:
        task.result()


def main() -> int:
    """Run one publisher; its exit code."""
    parser = argparse.ArgumentParser(prog="publisher", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where the history goes")
    parser.add_argument("--name", required=True, help="tells its sessions and ids from others'")
    parser.add_argument("--seed", required=True)
    parser.add_argument("--redis", required=True, help="the URL of the proxy before Redis")
    parser.add_argument("--web", help="the URL of the web process, where there is one")
    parser.add_argument("--rate", type=float, required=True, help="events a second")
    asyncio.run(run(parser.parse_args(sys.argv[1:])))
    return 0
