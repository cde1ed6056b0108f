"""Step 2: the same id twice, and what a dead letter is.

A program that did not hear an answer sends again. So every event has an *id*, which its program
chooses once and uses for every try. The first event with an id decides; a second one only counts.
An event that nobody can apply becomes a *dead letter*. It is kept for people to look at, and the
events behind it go on.

Read on in docs/guarantees.md, "Each event takes effect once",
and in docs/stream-contract.md, "Dead letters".
"""

from __future__ import annotations

from harness.system import SystemUnderTest


async def test_an_id_takes_effect_once_and_another_text_for_it_is_a_dead_letter(
    system: SystemUnderTest,
) -> None:
    await system.worker()
    # The same event twice, then another text under its id, and at last an event of another id.
    await system.append("milk-1", "We need milk.", session="kitchen")
    await system.append("milk-1", "We need milk.", session="kitchen")
    await system.append("milk-1", "We need beer.", session="kitchen")
    await system.append("milk-2", "Two bottles.", session="kitchen")

    # Events of a session are applied in order. So behind the last one all of them are decided, and
    # the bad one did not stop the stream.
    assert (await system.outcome("milk-2")).outcome == "applied"
    assert await system.texts("kitchen") == ["We need milk.", "Two bottles."]

    # The first event has the outcome of the id. The others were counted.
    outcome = await system.outcome("milk-1")
    assert (outcome.outcome, outcome.duplicates) == ("applied", 2)

    # Nobody knows which text was meant, so the other text is kept as a dead letter.
    [letter] = (await (await system.store()).dead_letters()).items
    assert (letter.reason, letter.event_id) == ("id_conflict", "milk-1")
    assert b"We need beer." in letter.payload
