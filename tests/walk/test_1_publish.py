"""Step 1: a turn goes into the stream, and comes out of the store once.

Turnstream keeps the conversations of an agent. Programs put *events* on a stream in Redis. One
*worker* takes them off and writes them into the *store*. In this step you publish an event without
any code of Turnstream, and read what the worker made of it.

Read on in docs/stream-contract.md, "Fields".
"""

from __future__ import annotations

from harness.system import STREAM, SystemUnderTest
from sessions import make_session_backend


async def test_a_turn_goes_into_the_stream_and_comes_out_of_the_store_once(
    system: SystemUnderTest,
) -> None:
    # One Redis command publishes. `append` adds a message to a session, and makes the session.
    event = ("v", "1", "id", "milk-1", "type", "append", "session", "kitchen")
    message = ("role", "user", "content", "We need milk.")
    place = await system.redis_says("XADD", STREAM, "*", *event, *message)

    # No worker runs yet. The event waits in Redis, which keeps it on disk.
    assert await system.redis_says("XLEN", STREAM) == 1

    # A worker comes. `outcome` waits until it has said what became of the event.
    worker = await system.worker()
    outcome = await system.outcome("milk-1")
    assert outcome.outcome == "applied"

    # Anybody may read the store. The worker alone writes it.
    async with make_session_backend(system.workspace, "sqlite", mode="read") as store:
        [stored] = (await store.history("kitchen")).items
        assert (stored.id, stored.role, stored.content) == ("milk-1", "user", "We need milk.")

        # Beside the message stands the *cursor*: how far the worker has come on the stream.
        assert str((await store.cursor()).applied) == place.decode()

        # The event stays on the stream for a while. Another worker begins behind the cursor, so
        # the event has no second effect.
        await worker.stop()
        await system.worker()
        await system.append("milk-2", "Two bottles.", session="kitchen")
        await system.outcome("milk-2")
        assert await system.redis_says("XLEN", STREAM) == 2
        assert [each.id for each in (await store.history("kitchen")).items] == ["milk-1", "milk-2"]
