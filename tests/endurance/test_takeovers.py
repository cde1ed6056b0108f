"""The lead changes hands again and again, and a leader comes back after a whole minute."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Final

import pytest

from sessions.models import Event, EventType
from sessions.store.factory import local_store
from tests.helpers import wait_until
from tests.worker.plant import Plant, WorkerProcess
from worker.leadership import lock_of

TAKEOVERS: Final = 100
# Every so many-th leader is frozen past its lease instead of killed; a takeover is then slow.
FROZEN_EACH: Final = 5
# Turns that wait while a takeover happens.
BACKLOG: Final = 40
# Seconds that a takeover may take, whatever became of the leader.
WITHIN: Final = 10.0
# Seconds that a leader stays frozen: ten leases.
LONG: Final = 60.0

pytestmark = [pytest.mark.endurance, pytest.mark.timeout(900)]


async def test_100_takeovers_in_a_row_take_less_than_10_s_each_and_lose_nothing(
    plant: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    leader = await plant.worker()
    took: list[float] = []
    for number in range(TAKEOVERS):
        standby = await plant.worker(leads=False)
        await standby.says("standing by")
        frozen = number % FROZEN_EACH == FROZEN_EACH - 1
        publishing = asyncio.create_task(_publish(plant, number))
        if frozen:
            leader.freeze()
        else:
            await leader.stop(signal.SIGKILL)
        began = time.monotonic()
        await publishing
        await plant.outcome(_id(number, BACKLOG - 1))
        took.append(time.monotonic() - began)
        assert took[-1] < WITHIN, f"takeover {number}"
        await _let_go(leader, frozen=frozen)
        await wait_until(lambda: _is_locked(plant))
        leader = standby
    await _holds_all(plant, TAKEOVERS)
    # The first leader was the first epoch of all.
    assert (await (await plant.store()).lease()).epoch == TAKEOVERS + 1
    with capsys.disabled():
        killed = sorted(set(took) - set(took[FROZEN_EACH - 1 :: FROZEN_EACH]))
        slow = sorted(took[FROZEN_EACH - 1 :: FROZEN_EACH])
        print(f"\n{plant.backend}: {TAKEOVERS} takeovers; leader killed: p50 ", end="")
        print(f"{killed[len(killed) // 2]:.2f} s, longest {killed[-1]:.2f} s; ", end="")
        print(f"frozen: p50 {slow[len(slow) // 2]:.2f} s, longest {slow[-1]:.2f} s")


async def test_a_leader_frozen_for_60_s_writes_nothing_when_it_is_woken(plant: Plant) -> None:
    leader = await plant.worker()
    standby = await plant.worker(leads=False)
    await standby.says("standing by")
    await _publish(plant, 0)
    # Frozen amid a transaction it would keep SQLite's lock, until a supervisor kills it.
    await plant.outcome(_id(0, BACKLOG - 1))
    leader.freeze()
    frozen_at = time.monotonic()
    await standby.says("leading under epoch 2")
    number = 1
    while time.monotonic() - frozen_at < LONG:
        await _publish(plant, number)
        await plant.outcome(_id(number, BACKLOG - 1))
        number += 1
    # Some wait when it wakes: to it they look like its own to apply.
    standby.freeze()
    await _publish(plant, number)
    before = await _state(plant)
    leader.thaw()
    await leader.says("the lead is lost")
    assert await _state(plant) == before
    standby.thaw()
    await plant.outcome(_id(number, BACKLOG - 1))
    await _holds_all(plant, number + 1)


async def _publish(plant: Plant, number: int) -> None:
    await plant.stream.publish(
        [
            Event(_id(number, turn), EventType.APPEND, f"s-{number}", "user", _id(number, turn))
            for turn in range(BACKLOG)
        ]
    )


async def _holds_all(plant: Plant, batches: int) -> None:
    """Every batch is there, whole and in order, and nothing else."""
    for number in range(batches):
        wanted = [_id(number, turn) for turn in range(BACKLOG)]
        assert await plant.texts(f"s-{number}") == wanted
    assert (await (await plant.store()).counts())["messages"] == batches * BACKLOG


def _id(number: int, turn: int) -> str:
    return f"e-{number}-{turn}"


async def _let_go(leader: WorkerProcess, *, frozen: bool) -> None:
    """Wake the one that lost the lead; it must step back before it goes."""
    if frozen:
        leader.thaw()
        await leader.says("the lead is lost")
        await leader.stop(signal.SIGKILL)


def _is_locked(plant: Plant) -> bool:
    """Whether the leader has the lock that a standby watches; it gets it from who lost the lead."""
    lock = lock_of(local_store(plant.workspace, plant.backend))
    taken = lock.take()
    lock.close()
    return not taken


async def _state(plant: Plant) -> tuple[object, ...]:
    store = await plant.store()
    return await store.cursor(), await store.counts(), (await store.lease()).epoch
