"""A message is one turn and one reply, whatever channel it comes by."""

from __future__ import annotations

import asyncio

from harness.waiting import wait_until
from ingest.failures import ABORTED, CLEARED
from tests.channels.installation import REPLICAS, Installation
from tests.channels.kits.base import Kit, Person, said

# Messages of one session that ingest takes at a time, the running one included.
_DEPTH = 8


class TestMessage:
    async def test_it_is_one_turn_and_one_reply(self, installation: Installation, kit: Kit):
        message = said()
        await kit.bring(message)
        await kit.answered(message)
        await installation.has_one_turn(kit, message)

    async def test_brought_again_at_any_time_and_anywhere_it_is_the_same_turn(
        self, installation: Installation, kit: Kit
    ):
        running = said()
        waiting, last = said(person=running.person), said(person=running.person)
        with installation.model.holding(running.note):
            await kit.bring(running)
            await installation.asked(running)
            await kit.bring(waiting)
            # A client of the chat returns with its answer only.
            again = [
                asyncio.create_task(kit.bring(message, replica=replica))
                for message in (running, waiting)
                for replica in range(REPLICAS)
            ]
            await asyncio.wait(again, timeout=0.3)
        await kit.answered(waiting, count=2)
        await asyncio.gather(*again)
        for message in (running, waiting):
            await kit.bring(message, replica=REPLICAS - 1)
        await kit.bring(last)
        await kit.answered(last, count=3)
        await installation.quiet(kit.session(last), last.agent)
        messages = (running, waiting, last)
        assert sorted(kit.texts(last.person)) == sorted(message.answer for message in messages)
        assert [installation.model.runs(message.note) for message in messages] == [[last.agent]] * 3
        stored = await installation.history(kit.session(last))
        assert [text for _, text in stored] == [
            text for message in messages for text in (message.text, message.answer)
        ]

    async def test_what_is_too_many_waits_with_its_platform_and_nothing_is_lost(
        self, installation: Installation, kit: Kit
    ):
        person = Person()
        messages = [said(person=person) for _ in range(_DEPTH + 1)]
        with installation.model.holding(messages[0].note):
            for message in messages[:_DEPTH]:
                await kit.bring(message)
            last = asyncio.create_task(kit.bring(messages[-1]))
            await asyncio.wait([last], timeout=0.5)
        await last
        found = await kit.answered(messages[-1], count=len(messages))
        assert sorted(found) == sorted(message.answer for message in messages)
        stored = await installation.history(kit.session(messages[0]))
        assert [text for role, text in stored if role == "user"] == [m.text for m in messages]

    async def test_a_long_reply_comes_whole_and_in_order(
        self, installation: Installation, kit: Kit
    ):
        message = said()
        parts = [f"{number} " + "word " * 300 for number in range(6)]
        whole = f"{message.note} " + "\n\n".join(parts) + " \U0001f600" * 2500
        installation.model.scripts[message.note] = whole
        await kit.bring(message)
        wanted = "".join(whole.split())
        await wait_until(
            lambda: len("".join("".join(kit.texts(message.person)).split())) >= len(wanted),
            within=30,
        )
        await installation.quiet(kit.session(message), message.agent)
        pieces = kit.texts(message.person)
        assert "".join("".join(pieces).split()) == wanted
        longest = kit.abilities.longest
        if longest is None:
            assert pieces == [whole]
        else:
            assert len(pieces) > 1
            assert all(len(piece.encode("utf-16-le")) <= 2 * longest for piece in pieces)


class TestStrangers:
    async def test_who_may_not_write_is_turned_away_and_nothing_is_kept(
        self, installation: Installation, kit: Kit
    ):
        message = said()
        assert await kit.intrude(message) == [*kit.turns_away]
        # One that may comes behind it, so that all before it was looked at.
        after = said(person=message.person)
        await kit.bring(after)
        await kit.answered(after)
        await installation.has_one_turn(kit, after)
        assert installation.model.runs(message.note) == []

    async def test_what_nobody_can_read_hides_nothing_and_ends_nothing(
        self, installation: Installation, kit: Kit
    ):
        junk, message, processes = said(), said(), installation.processes
        assert await kit.bring_junk(junk.note) == [*kit.answers_junk]
        await kit.bring(message)
        await kit.answered(message)
        await installation.has_one_turn(kit, message)
        assert installation.model.runs(junk.note) == []
        assert installation.processes == processes


class TestCommands:
    async def test_new_begins_again_and_without_commands_it_is_a_message(
        self, installation: Installation, kit: Kit
    ):
        before = said()
        again = said("/new {}", before.person)
        after = said(person=before.person)
        for count, message in enumerate((before, again, after), 1):
            await kit.bring(message)
            await kit.answered(message, count=count)
        await installation.quiet(kit.session(after), after.agent)
        stored = [text for _, text in await installation.history(kit.session(after))]
        if kit.abilities.has_commands:
            assert kit.texts(after.person) == [before.answer, CLEARED, after.answer]
            assert stored == [after.text, after.answer]
            assert installation.model.runs(again.note) == []
        else:
            assert kit.texts(after.person) == [before.answer, again.answer, after.answer]
            assert len(stored) == 6

    async def test_stop_keeps_what_was_said_and_without_commands_it_is_a_message(
        self, installation: Installation, kit: Kit
    ):
        running = said()
        stop = said("/stop", running.person)
        if not kit.abilities.has_commands:
            stop = said("/stop {}", running.person)
        with installation.model.holding(running.note):
            await kit.bring(running)
            await installation.begun(running)
            await kit.bring(stop, replica=REPLICAS - 1)
            if kit.abilities.has_commands:
                # Its first words may still have been on their way. They were shown to nobody then.
                [told] = await kit.answered(running)
                assert told in (ABORTED, f"{running.agent}: \n\n{ABORTED}")
        await installation.quiet(kit.session(running), running.agent)
        if not kit.abilities.has_commands:
            assert await kit.answered(stop, count=2) == [running.answer, stop.answer]
        stored = await installation.history(kit.session(running))
        assert [text for role, text in stored if role == "assistant"] == kit.texts(running.person)

    async def test_a_command_for_another_bot_is_not_obeyed(
        self, installation: Installation, kit: Kit
    ):
        before = said(in_group=True)
        other = said("/new@another_bot {}", before.person, in_group=True)
        after = said(person=before.person, in_group=True)
        for message in (before, other, after):
            await kit.bring(message)
        is_heard = not kit.abilities.has_mentions
        texts = await kit.answered(after, count=2 + is_heard)
        await installation.quiet(kit.session(after), after.agent)
        heard = [before, *([other] if is_heard else []), after]
        assert texts == [message.answer for message in heard]
        stored = await installation.history(kit.session(after))
        assert [text for role, text in stored if role == "user"] == [m.text for m in heard]
