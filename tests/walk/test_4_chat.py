"""Step 4: a message in a chat becomes a turn and a reply.

A person writes in a chat. The message waits in its session's *lane*, where one turn runs at a time.
The *turn* publishes the message, asks the agent and publishes the reply. Meanwhile the session is
`running`, afterwards it is `idle`. In this step the agent's model is a server of the test, so that
you can hold it up and look.

Read on in docs/walk-of-a-turn.md, "Step by step".
"""

from __future__ import annotations

import asyncio
from typing import Any

from harness.system import SystemUnderTest
from harness.waiting import wait_until
from tests.walk.site import Site, site_with_model


async def state(site: Site) -> str:
    """The state of the chat's session."""
    return (await site.http.get("/api/sessions/gw_kitchen/state")).json()["state"]


async def test_a_message_in_a_chat_becomes_a_turn_and_a_reply(system: SystemUnderTest) -> None:
    may_answer = asyncio.Event()

    async def script(request: dict[str, Any]) -> str:
        await may_answer.wait()
        return f"I see {len(request['messages'])} message(s)."

    async def two_are_in_the_lane() -> bool:
        # The lane is a list in Redis. Its first message is the one whose turn runs.
        [lane] = await system.redis_says("KEYS", "turnstream:queue:*")
        return await system.redis_says("LLEN", lane) == 2

    await system.worker()
    async with site_with_model(system, script) as (site, model), site.chat("kitchen") as chat:
        await chat.say("We need milk.")

        # The model was asked. So the turn runs, and its message is stored already.
        await wait_until(lambda: model.requests)
        assert await state(site) == "running"
        assert await site.messages("gw_kitchen") == [("user", "We need milk.")]

        # A second message waits in the lane until the first turn has ended.
        await chat.say("And bread.")
        await wait_until(two_are_in_the_lane)
        assert len(model.requests) == 1
        may_answer.set()
        assert (await chat.hears("done"))["full_response"] == "I see 1 message(s)."

        # The second turn read the first one with its reply.
        assert (await chat.hears("done"))["full_response"] == "I see 3 message(s)."
        assert await site.messages("gw_kitchen") == [
            ("user", "We need milk."),
            ("assistant", "I see 1 message(s)."),
            ("user", "And bread."),
            ("assistant", "I see 3 message(s)."),
        ]
        assert await state(site) == "idle"
