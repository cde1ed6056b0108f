"""Platforms that are away, slow, busy, broken, or that know the token no more."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest

from harness.waiting import wait_until
from tests.channels.installation import PARKED_AFTER, Installation
from tests.channels.kits.base import Kit, Person, said
from tests.channels.weather import RETRY_AFTER, Fault, PlatformServer

# Seconds: longer than the first tries, shorter than a reply is tried before it is parked.
_AWAY: Final = PARKED_AFTER / 2
# Seconds between two tries at most.
_LONGEST_PAUSE: Final = 330
_LONG_OUTAGE: Final = pytest.mark.timeout(1800)


def server_of(kit: Kit) -> PlatformServer:
    assert kit.server is not None
    return kit.server


class TestFaults:
    @pytest.mark.parametrize("fault", [Fault.SLOW, Fault.BUSY, Fault.BROKEN, Fault.GARBAGE])
    async def test_what_passes_delays_a_reply_and_repeats_nothing(
        self, installation: Installation, delivering: Kit, fault: Fault
    ):
        message, weather = said(), server_of(delivering).weather
        with installation.model.holding(message.note):
            await delivering.bring(message)
            await installation.asked(message)
            with weather.meeting(fault):
                installation.model.held[message.note].set()
                await wait_until(lambda: weather.tries(message.note))
        await delivering.answered(message)
        await installation.has_one_turn(delivering, message)
        first, *others = weather.tries(message.note)
        assert first.met
        assert len(others) == 0 if fault is Fault.SLOW else len(others) >= 1
        if fault is Fault.BUSY:
            assert others[0].at - first.at >= RETRY_AFTER

    async def test_a_revoked_token_costs_no_other_reply(
        self, installation: Installation, delivering: Kit
    ):
        first, weather = said(), server_of(delivering).weather
        with installation.model.holding(first.note):
            await delivering.bring(first)
            await installation.asked(first)
            with weather.meeting(Fault.REVOKED):
                installation.model.held[first.note].set()
                await wait_until(lambda: weather.tries(first.note))
                await installation.quiet(delivering.session(first), first.agent)
        assert len(weather.tries(first.note)) == 1
        second = said(person=first.person)
        await delivering.bring(second)
        assert await delivering.answered(second) == [second.answer]
        [kept] = await installation.kept(delivering.session(first))
        assert kept["state"] == "undelivered"
        await installation.retry(kept["turn"])
        texts = await delivering.answered(first, count=2)
        assert texts == [second.answer, first.answer]
        await installation.forgotten(delivering, first)
        stored = [text for _, text in await installation.history(delivering.session(first))]
        assert stored == [first.text, first.answer, second.text, second.answer]


class TestAway:
    async def test_replies_that_nobody_took_come_in_order_when_the_platform_is_back(
        self, installation: Installation, delivering: Kit
    ):
        person = Person()
        first, *others = messages = [said(person=person) for _ in range(3)]
        model = installation.model
        with model.holding(first.note), model.holding(*(other.note for other in others)):
            for message in messages:
                await delivering.bring(message)
            await installation.asked(first)
            async with server_of(delivering).away():
                model.held[first.note].set()
                await installation.stored(delivering, first)
                # The pauses of the first have grown: what came later could overtake it.
                await asyncio.sleep(_AWAY)
                model.held[others[0].note].set()
        assert await delivering.answered(first, count=3) == [m.answer for m in messages]
        await installation.quiet(delivering.session(first), first.agent)
        assert delivering.texts(person) == [m.answer for m in messages]

    async def test_a_platform_that_is_away_for_long_holds_no_lane(
        self, installation: Installation, delivering: Kit
    ):
        """Replies are parked, and come in order and once when the platform is back."""
        person = Person()
        messages = [said(person=person) for _ in range(3)]
        session = delivering.session(messages[0])
        with installation.model.holding(messages[0].note):
            for message in messages:
                await delivering.bring(message)
            await installation.asked(messages[0])
            async with server_of(delivering).away():
                installation.model.held[messages[0].note].set()
                for message in messages:
                    await installation.stored(delivering, message)
                await installation.quiet(session, messages[0].agent)
                kept = await installation.kept(session)
                assert [reply["state"] for reply in kept] == ["parked"] * 3
                assert not any(message.note in str(kept) for message in messages)
        assert await delivering.answered(messages[0], count=3) == [m.answer for m in messages]
        await installation.forgotten(delivering, messages[0])
        assert delivering.texts(person) == [m.answer for m in messages]


@pytest.mark.endurance
@pytest.mark.parametrize(
    "seconds",
    [pytest.param(30, marks=pytest.mark.timeout(300)), pytest.param(600, marks=_LONG_OUTAGE)],
)
async def test_outages_as_long_as_they_are_with_the_settings_as_they_are(
    tmp_path: Path, seconds: int
):
    """All channels at once, each with two sessions."""
    async with Installation.running(tmp_path, channels={}) as installation:
        kits = [kit for kit in installation.kits.values() if kit.abilities.delivers]
        await asyncio.gather(*(sits_out(installation, kit, seconds) for kit in kits))


async def sits_out(installation: Installation, kit: Kit, seconds: int) -> None:
    people = Person(), Person()
    messages = {person: [said(person=person) for _ in range(3)] for person in people}
    with installation.model.holding(*(own[0].note for own in messages.values())):
        for message in (message for own in messages.values() for message in own):
            await kit.bring(message)
        for own in messages.values():
            await installation.asked(own[0])
        async with server_of(kit).away():
            installation.model.held[messages[people[0]][0].note].set()
            await asyncio.sleep(seconds)
    for person, own in messages.items():
        await kit.answered(own[0], count=len(own), within=seconds + _LONGEST_PAUSE)
        await installation.forgotten(kit, own[0])
        assert kit.texts(person) == [message.answer for message in own]


class TestReading:
    """Ingest sends nothing to these, so nothing can be away but the person."""

    async def test_a_person_who_left_finds_the_reply_when_it_is_asked_for_again(
        self, installation: Installation, reading: Kit
    ):
        message = said()
        assert reading.server is None
        with installation.model.holding(message.note):
            await reading.bring(message)
            await installation.asked(message)
            await reading.leave(message)
        await installation.quiet(reading.session(message), message.agent)
        assert reading.texts(message.person) == []
        await reading.bring(message)
        await reading.answered(message)
        await installation.has_one_turn(reading, message)
