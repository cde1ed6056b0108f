"""Two accounts at one platform are kept apart, and an owner that changed keeps its secrets."""

from __future__ import annotations

from tests.channels.installation import Installation
from tests.channels.kits.base import AGENTS, Kit, Person, Said, said


async def test_two_accounts_of_one_platform_mix_nothing(installation: Installation, kit: Kit):
    """The same person, and the same ids of the platform, at both."""
    person = Person()
    messages = [said(person=person, agent=agent) for agent in AGENTS]
    one, two = messages
    twin = Said(person, two.note, two.text, two.agent, number=one.number)
    for message in (one, twin):
        await kit.bring(message)
    for message in (one, twin):
        await kit.answered(message)
        await installation.has_one_turn(kit, message)
    assert kit.session(one) != kit.session(twin)


async def test_a_session_that_is_another_agents_now_answers_nobody_and_shows_nothing(
    installation: Installation, kit: Kit
):
    before = said()
    session = kit.session(before)
    await kit.bring(before)
    await kit.answered(before)
    await installation.give(session, AGENTS[1])
    after = said(person=before.person)
    await kit.bring(after)
    found = await kit.answered(after, count=2)
    await installation.quiet(session, after.agent)
    assert found == [before.answer, kit.refused(after)]
    assert kit.texts(before.person) == found
    assert [text for _, text in await installation.history(session)] == [before.text, before.answer]
    assert installation.model.runs(after.note) == []
    # Its own agent again, it goes on where it was.
    await installation.give(session, AGENTS[0])
    last = said(person=before.person)
    await kit.bring(last)
    assert (await kit.answered(last, count=3))[-1] == last.answer
