"""Agents used to be told `No active sessions found` and made ids up; this is why we exist.

One agent talks with somebody on every channel. Asked from any of them who else there is, it really
sees the others, reads what they said, and wakes them, because its tools, the gateway and the
channels look into one store.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.channels.installation import Installation
from tests.channels.kits.base import AGENTS, Kit, Person, Said, said


@dataclass
class Visit:
    """What the model does when it is asked who else there is; it knows ids from its tools only.

    It reads the sessions of `others`, wakes those of `greetings` with what is there for each, and
    passes on what it was answered.
    """

    question: Said
    others: Collection[str]
    greetings: Mapping[str, Said]
    current: str = ""
    listed: Sequence[str] = ()
    read: Mapping[str, str] = field(default_factory=dict[str, str])

    def __call__(self, results: Sequence[str]) -> Sequence[tuple[str, Any]] | str:
        if not results:
            return [("sessions_current", {}), ("sessions_list", {})]
        self.current, found, *more = results
        self.listed = re.findall(r"^- (\S+): ", found, re.MULTILINE)
        others = [key for key in self.listed if key in self.others]
        if not more:
            return [("sessions_history", {"session_id": key}) for key in others]
        self.read = dict(zip(others, more, strict=False))
        if len(more) == len(others):
            return [("sessions_send", self._waking(key)) for key in others if key in self.greetings]
        return "\n".join([self.question.answer, *more[len(others) :]])

    def _waking(self, key: str) -> dict[str, Any]:
        return {"session_id": key, "message": self.greetings[key].text, "await_reply": 30}


async def test_from_any_channel_an_agent_sees_all_its_sessions_and_wakes_one(
    installation: Installation, kit: Kit
):
    """Each channel wakes the next one, so that each is woken."""
    kits = [*installation.kits.values()]
    await _visit(installation, kit, [kits[(kits.index(kit) + 1) % len(kits)]])


@pytest.mark.endurance
async def test_from_any_channel_an_agent_wakes_its_sessions_on_all_others(
    installation: Installation, kit: Kit
):
    await _visit(installation, kit, [one for one in installation.kits.values() if one is not kit])


async def _visit(installation: Installation, kit: Kit, woken: Collection[Kit]) -> None:
    person = Person()
    firsts = {one: said(person=person) for one in installation.kits.values()}
    of_another = said(person=person, agent=AGENTS[1])
    await asyncio.gather(*(one.bring(first) for one, first in firsts.items()))
    await kit.bring(of_another)
    await asyncio.gather(*(one.answered(first) for one, first in firsts.items()))
    await kit.answered(of_another)

    sessions = {one.session(first): one for one, first in firsts.items()}
    visit = Visit(
        said("who else talks to you? {}", person),
        {key for key, one in sessions.items() if one is not kit},
        {key: said("{}, says somebody", person) for key, one in sessions.items() if one in woken},
    )
    installation.model.plans[visit.question.note] = visit
    async with AsyncExitStack() as stack:
        for one in woken:
            await stack.enter_async_context(one.watching(firsts[one]))
        await kit.bring(visit.question)
        _, told = await kit.answered(visit.question, count=2)

        assert kit.session(firsts[kit]) in visit.current
        assert {*sessions} <= {*visit.listed}
        assert kit.session(of_another) not in visit.listed
        for key in visit.others:
            first = firsts[sessions[key]]
            assert first.text in visit.read[key]
            assert first.answer in visit.read[key]
        for key, greeting in visit.greetings.items():
            assert f"Session '{key}' answered:\n{greeting.answer}" in told
            await _has_greeted(installation, sessions[key], firsts[sessions[key]], greeting)
    await installation.has_one_turn(kit, of_another)


async def _has_greeted(installation: Installation, kit: Kit, first: Said, greeting: Said) -> None:
    """The session that was woken has answered, in its own channel, once."""
    shown = [first.answer]
    if kit.abilities.shows_woken:
        shown.append(greeting.answer)
    assert await kit.answered(first, count=len(shown)) == shown
    assert [text for _, text in await installation.history(kit.session(first))] == [
        *(first.text, first.answer, greeting.text, greeting.answer),
    ]
