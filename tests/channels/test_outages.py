"""Platforms that are away, slow, busy, broken, or that know the token no more."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from harness.waiting import wait_until
from tests.channels.installation import Installation
from tests.channels.kits.base import Kit, Person, said
from tests.channels.weather import RETRY_AFTER, Fault, PlatformServer

# Seconds: longer than the first tries, shorter than a reply is tried.
_AWAY: Final = 2.0


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
        stored = [text for _, text in await installation.history(delivering.session(first))]
        assert stored == [first.text, first.answer, second.text, second.answer]


class TestAway:
    @pytest.mark.parametrize(
        "seconds",
        [_AWAY, pytest.param(30.0, marks=[pytest.mark.endurance, pytest.mark.timeout(180)])],
    )
    async def test_replies_that_nobody_took_come_in_order_when_the_platform_is_back(
        self, installation: Installation, delivering: Kit, seconds: float
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
                await asyncio.sleep(seconds)
                model.held[others[0].note].set()
        texts = await delivering.answered(first, count=3, within=seconds + 30)
        assert texts == [m.answer for m in messages]
        await installation.quiet(delivering.session(first), first.agent)
        assert delivering.texts(person) == [m.answer for m in messages]


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
