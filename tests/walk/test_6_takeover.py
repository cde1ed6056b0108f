"""Step 6: the leader is killed, and the standby goes on.

One worker at a time writes the store: the *leader*. It holds the *lease*, a row in the store with a
number, the *epoch*. A second worker is a *standby*. When the leader dies, the standby takes the
lease under the next epoch and goes on where the store stands. A leader that only seemed dead finds
the higher epoch, and can write nothing more.

Read on in docs/guarantees.md, "One writer".
"""

from __future__ import annotations

import signal

from harness.system import SystemUnderTest


async def test_the_standby_goes_on_when_the_leader_is_killed(system: SystemUnderTest) -> None:
    leader = await system.worker()
    standby = await system.worker(leads=False)
    await standby.says("standing by")

    await system.append("milk-1", "We need milk.", session="kitchen")
    await system.outcome("milk-1")
    store = await system.store()
    assert (await store.lease()).epoch == 1

    # The leader dies without a word. What is published meanwhile waits on the stream.
    await leader.stop(signal.SIGKILL)
    await system.append("milk-2", "Two bottles.", session="kitchen")

    # Within 10 s the standby leads. Nothing is lost, and nothing comes twice.
    await standby.says("leading under epoch 2", within=10)
    await system.outcome("milk-2")
    assert (await store.lease()).epoch == 2
    assert await system.texts("kitchen") == ["We need milk.", "Two bottles."]
