"""kill -9 of Redis and of every replica of ingest, with messages at each moment of their way.

All stand at their moments when the one kill comes, so that the suite pays for it once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from harness.waiting import wait_until
from ingest.failures import INTERRUPTED
from tests.channels.installation import Installation
from tests.channels.kits.base import Kit, Said, said
from tests.channels.weather import Moment

# Seconds in which a message comes from its platform to ingest, polled ones too.
_AT_THE_DOOR = 1.0
# Seconds: replicas are taken for dead after 10, a lease on a bot ends after 20.
_WITHIN = 45.0


@dataclass(frozen=True)
class Fates:
    """One channel's messages, called by where they were when the replicas died."""

    at_the_door: Said
    answered: Said
    waiting: Said
    unsent: Said
    sent: Said

    @classmethod
    def new(cls) -> Fates:
        answered = said()
        return cls(said(), answered, said(person=answered.person), said(), said())


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def fates(installation: Installation) -> AsyncIterator[dict[str, Fates]]:
    """What each channel brought; everything was killed since, and runs again."""
    found = {name: Fates.new() for name in installation.kits}
    held = [fates.answered.note for fates in found.values()]
    with installation.model.holding(*held):
        places = [(installation.kits[name], fates) for name, fates in found.items()]
        await asyncio.gather(*(_take_places(installation, *place) for place in places))
        # Redis takes nothing more: what is brought now is at ingest, and in no lane.
        installation.redis.freeze()
        doors = [asyncio.create_task(kit.bring(own.at_the_door)) for kit, own in places]
        await asyncio.wait(doors, timeout=_AT_THE_DOOR)
        await installation.kill_ingest()
        await installation.redis.kill()
    await installation.redis.start()
    await installation.start_ingest()
    await asyncio.gather(*doors)
    yield found


async def _take_places(installation: Installation, kit: Kit, fates: Fates) -> None:
    """Return when each message stands where it is called by."""
    weather = kit.server.weather if kit.server is not None else None
    if weather is not None:
        weather.held |= {fates.unsent.note: Moment.BEFORE, fates.sent.note: Moment.AFTER}
    await kit.bring(fates.answered)
    await installation.asked(fates.answered)
    for message in (fates.waiting, fates.unsent, fates.sent):
        await kit.bring(message)
    for message in (fates.unsent, fates.sent):
        await installation.stored(kit, message)
        if weather is not None:
            await wait_until(weather.holds(message.note), within=30)


@pytest.mark.timeout(180)
class TestKilled:
    async def test_a_message_at_the_door_is_brought_again_and_is_one_turn(
        self, installation: Installation, kit: Kit, fates: dict[str, Fates]
    ):
        message = fates[kit.name].at_the_door
        await kit.answered(message, within=_WITHIN)
        await installation.has_one_turn(kit, message)

    async def test_a_turn_that_was_answered_is_closed_and_the_person_is_told(
        self, installation: Installation, kit: Kit, fates: dict[str, Fates]
    ):
        own = fates[kit.name]
        texts = await kit.answered(own.answered, count=2, within=_WITHIN)
        wanted = [INTERRUPTED, own.waiting.answer]
        # Where each message is asked for by itself, the answers come as they are found.
        assert texts == wanted if kit.abilities.delivers else sorted(texts) == sorted(wanted)
        assert installation.model.runs(own.answered.note) == [own.answered.agent]

    async def test_a_message_that_waited_is_one_turn_after_it(
        self, installation: Installation, kit: Kit, fates: dict[str, Fates]
    ):
        own = fates[kit.name]
        await kit.answered(own.waiting, count=2, within=_WITHIN)
        await installation.quiet(kit.session(own.waiting), own.waiting.agent)
        assert installation.model.runs(own.waiting.note) == [own.waiting.agent]
        assert await installation.history(kit.session(own.waiting)) == [
            ("user", own.answered.text),
            ("assistant", INTERRUPTED),
            ("user", own.waiting.text),
            ("assistant", own.waiting.answer),
        ]

    async def test_a_reply_that_the_platform_had_not_taken_is_sent_once(
        self, installation: Installation, kit: Kit, fates: dict[str, Fates]
    ):
        message = fates[kit.name].unsent
        await kit.answered(message, within=_WITHIN)
        await installation.has_one_turn(kit, message)

    async def test_a_reply_whose_sending_nobody_noted_comes_again_under_its_id(
        self, installation: Installation, kit: Kit, fates: dict[str, Fates]
    ):
        message = fates[kit.name].sent
        abilities = kit.abilities
        count = 2 if abilities.delivers and not abilities.drops_repeats else 1
        texts = await kit.answered(message, count=count, within=_WITHIN)
        await installation.quiet(kit.session(message), message.agent)
        assert texts == kit.texts(message.person) == [message.answer] * count
        assert installation.model.runs(message.note) == [message.agent]
        assert len(await installation.history(kit.session(message))) == 2
        ids = {delivery.id for delivery in kit.deliveries(message.person)}
        assert len(ids) == 1
        assert (ids != {None}) is abilities.names_deliveries
