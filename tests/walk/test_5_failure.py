"""Step 5: a failed call of the agent is taken back, or closed.

A message that a model can never take would spoil every later turn, because the model reads it each
time. So Turnstream takes it back with a *rollback*, which is an event like any other. If the model
fails for another reason, the message stays, and a marker closes its turn. No turn stays open.

Read on in docs/models.md, "When a turn fails",
and in docs/stream-contract.md, "Rules".
"""

from __future__ import annotations

from typing import Any

from harness.system import SystemUnderTest
from ingest.failures import FAILED
from tests.ingest.model_server import failure
from tests.walk.site import site_with_model


def script(request: dict[str, Any]) -> Any:
    """A model that cannot read one text, and refuses the key for another."""
    asked = request["messages"][-1]["content"]
    if "unreadable" in asked:
        return failure(400, "this message cannot be read")
    return failure(401, "invalid api key") if "key" in asked else "Hello to you."


async def test_a_message_that_failed_is_taken_back_or_its_turn_is_closed(
    system: SystemUnderTest,
) -> None:
    await system.worker()
    async with site_with_model(system, script) as (site, model), site.chat("kitchen") as chat:
        # The model's server answers 400: it will never take this message.
        await chat.say("something unreadable")
        assert "cannot be read" in (await chat.hears("error"))["message"]
        assert await site.messages("gw_kitchen") == []

        # The next turn does not see it.
        await chat.say("Good morning.")
        assert (await chat.hears("done"))["full_response"] == "Hello to you."
        assert len(model.requests[-1]["messages"]) == 1

        # 401 is not the message's fault. It stays, and the marker answers it.
        await chat.say("Is this the key?")
        await chat.hears("error")
        assert await site.messages("gw_kitchen") == [
            ("user", "Good morning."),
            ("assistant", "Hello to you."),
            ("user", "Is this the key?"),
            ("assistant", FAILED),
        ]
