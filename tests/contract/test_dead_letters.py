"""Rules 5 and 6: what cannot be applied is kept as a dead letter, and the stream goes on."""

from __future__ import annotations

import hashlib

import pytest

from sessions import wire
from sessions.models import DeadLetter, Event, RawEntry, StreamId
from tests.events import (
    Fields,
    context,
    dead,
    delete,
    entry_at,
    event,
    poison,
    reply,
    reset,
    rollback,
    user,
)
from tests.stores import LeadingBackend

BAD: dict[str, tuple[Fields, str]] = {
    "not UTF-8": (user("e1") | {"content": b"\xff\xfe"}, "undecodable"),
    "no version": ({k: v for k, v in user("e1").items() if k != "v"}, "unknown_version"),
    "version 2": (user("e1") | {"v": "2"}, "unknown_version"),
    "unknown type": (event("shout", "e1"), "unknown_type"),
    "no type": ({"v": "1", "id": "e1", "session": "s"}, "invalid_field"),
    "no role": (event("append", "e1", content="x"), "invalid_field"),
    "no content": (event("append", "e1", role="user"), "invalid_field"),
    "empty role": (user("e1") | {"role": ""}, "invalid_field"),
    "role of 33 bytes": (user("e1") | {"role": "r" * 33}, "invalid_field"),
    "too much content": (user("e1", "x" * (256 * 1024 + 1)), "too_large"),
    "rollback of nothing": (rollback("e1"), "invalid_field"),
    "rollback of two things": (rollback("e1", target="u", expect="x"), "invalid_field"),
    "rename without name": (event("rename", "e1"), "invalid_field"),
    "state without state": (event("state", "e1"), "invalid_field"),
    "unknown state": (event("state", "e1", state="busy"), "invalid_field"),
    "bad turn": (user("e1", turn="a b"), "invalid_field"),
    "bad time": (user("e1", at="yesterday"), "invalid_field"),
    "bad flag": (user("e1", if_exists="yes"), "invalid_field"),
    "dead without action": (event("dead", "e1", target="x"), "invalid_field"),
    "dead without target": (event("dead", "e1", action="purge"), "invalid_field"),
}


@pytest.mark.parametrize(("fields", "reason"), BAD.values(), ids=BAD)
async def test_bad_input_is_a_dead_letter_and_the_stream_goes_on(
    store: LeadingBackend, fields: Fields, reason: str
) -> None:
    cursor = await store.apply(user("before"), fields, user("after"))
    assert [letter.reason for letter in await store.letters()] == [reason]
    assert [message.id for message in await store.messages()] == ["before", "after"]
    assert cursor.resolved == 3


@pytest.mark.parametrize(("fields", "reason"), BAD.values(), ids=BAD)
async def test_a_legible_id_gets_the_outcome_dead(
    store: LeadingBackend, fields: Fields, reason: str
) -> None:
    await store.apply(fields)
    outcome = await store.outcome("e1")
    assert (outcome.outcome, outcome.reason) == ("dead", reason)
    assert outcome.detail


@pytest.mark.parametrize(
    "event_id", [b"", b"a b", b"x" * 129, b"\xff", "\u00e9".encode()], ids=repr
)
async def test_an_illegible_id_gets_none(store: LeadingBackend, event_id: bytes) -> None:
    await store.apply(user("e1") | {"id": event_id})
    [letter] = await store.letters()
    assert letter.event_id is None
    assert letter.session == "s"
    assert (await store.backend.counts())["events"] == 0


async def test_a_session_key_may_have_512_bytes_and_no_more(store: LeadingBackend) -> None:
    await store.apply(user("e1", session="k" * 512), user("e2", session="k" * 513))
    assert await store.result("e1") == "applied"
    assert await store.result("e2") == "invalid_field"


async def test_a_dead_letter_shows_where_it_comes_from(store: LeadingBackend) -> None:
    entry = store.stream.entry(poison("e1", content="secret", session="home"))
    await store.apply_entries([entry])
    [letter] = await store.letters()
    framed = wire.frame(entry.raw.fields)
    assert (letter.event_id, letter.session, letter.reason) == ("e1", "home", "unknown_type")
    assert letter.stream_id == entry.raw.stream_id
    assert letter.at == store.clock.now
    assert letter.size == entry.raw.size
    assert letter.sha256 == hashlib.sha256(framed).hexdigest()
    assert wire.unframe(letter.payload) == list(entry.raw.fields)
    assert await store.backend.dead_letter(letter.id) == letter


async def test_of_a_large_entry_the_first_64_kib_are_kept(store: LeadingBackend) -> None:
    entry = store.stream.entry(user("e1", "x" * (300 * 1024)))
    await store.apply_entries([entry])
    [letter] = await store.letters()
    assert letter.payload == wire.frame(entry.raw.fields)[: 64 * 1024]
    assert letter.size == entry.raw.size > 300 * 1024
    assert letter.sha256 == hashlib.sha256(wire.frame(entry.raw.fields)).hexdigest()


async def test_an_entry_of_an_unknown_version_is_kept_whole(store: LeadingBackend) -> None:
    await store.apply(user("e1", "x" * (200 * 1024)) | {"v": "2"})
    [letter] = await store.letters()
    assert b"x" * (200 * 1024) in wire.unframe(letter.payload)


async def test_an_entry_of_ten_mebibytes_stops_nothing(store: LeadingBackend) -> None:
    await store.apply(user("e1") | {"content": b"\xff" * (10 * 1024 * 1024)}, user("e2"))
    assert await store.result("e1") == "too_large"
    assert await store.result("e2") == "applied"


async def test_the_same_poison_again_is_a_duplicate(store: LeadingBackend) -> None:
    await store.apply(poison("e1"), poison("e1"))
    assert len(await store.letters()) == 1
    assert (await store.outcome("e1")).duplicates == 1


async def test_the_same_poison_without_an_id_is_another_dead_letter(store: LeadingBackend) -> None:
    nameless: Fields = {"v": "1", "type": "append"}
    await store.apply(nameless, nameless)
    assert len({letter.id for letter in await store.letters()}) == 2


async def test_poison_read_again_under_a_new_epoch_is_the_same_dead_letter(
    store: LeadingBackend,
) -> None:
    entries = [store.stream.entry(poison("e1")), store.stream.entry({"v": "1"})]
    await store.apply_entries(entries)
    before = await store.letters()
    await store.backend.begin_epoch(skipped=0)
    await store.apply_entries(entries)
    assert await store.letters() == before
    assert (await store.outcome("e1")).duplicates == 0


async def test_poison_with_a_known_id_is_a_conflict(store: LeadingBackend) -> None:
    await store.apply(user("e1"), poison("e1"))
    [letter] = await store.letters()
    assert letter.reason == "id_conflict"
    assert await store.result("e1") == "applied"


async def test_a_dead_letters_id_can_be_the_target_of_an_event(store: LeadingBackend) -> None:
    await store.apply(poison("e1"))
    assert wire.is_id((await letter_of(store)).id)


# -- replay --------------------------------------------------------------------------------------


async def letter_of(store: LeadingBackend) -> DeadLetter:
    """The newest dead letter."""
    return (await store.letters())[0]


async def corrected(store: LeadingBackend, good: Fields) -> DeadLetter:
    """The dead letter of a good event that came after a bad one with its id."""
    await store.apply(poison(str(good["id"])), good)
    return await letter_of(store)


async def test_a_replayed_event_takes_effect_where_it_is_replayed(store: LeadingBackend) -> None:
    letter = await corrected(store, user("e1", "replayed"))
    await store.apply(user("e2", "between"), dead("d", "replay", letter.id))
    assert await store.texts() == ["between", "replayed"]
    assert await store.result("d") == "applied"


async def test_a_replay_changes_the_outcome_from_dead(store: LeadingBackend) -> None:
    letter = await corrected(store, user("e1"))
    await store.apply(dead("d", "replay", letter.id))
    outcome = await store.outcome("e1")
    assert (outcome.outcome, outcome.reason, outcome.detail) == ("applied", None, None)
    assert outcome.position.stream_id == (await store.outcome("d")).position.stream_id
    assert outcome.position.event_id == "e1"
    assert outcome.duplicates == 1


async def test_a_replayed_letter_is_gone(store: LeadingBackend) -> None:
    letter = await corrected(store, user("e1"))
    await store.apply(dead("d1", "replay", letter.id))
    assert letter.id not in [left.id for left in await store.letters()]
    await store.apply(dead("d2", "replay", letter.id))
    assert await store.result("d2") == "no_dead_letter"
    assert len(await store.texts()) == 1


async def test_a_replay_redelivered_is_one_replay(store: LeadingBackend) -> None:
    letter = await corrected(store, user("e1"))
    await store.apply(dead("d", "replay", letter.id), dead("d", "replay", letter.id))
    assert len(await store.texts()) == 1
    assert await store.result("d") == "applied"


async def test_a_replayed_event_may_turn_out_to_have_no_effect(store: LeadingBackend) -> None:
    letter = await corrected(store, user("e1", if_exists="1"))
    await store.apply(dead("d", "replay", letter.id))
    assert await store.result("d") == "applied"
    outcome = await store.outcome("e1")
    assert (outcome.outcome, outcome.reason) == ("noop", "no_session")


async def test_a_replayed_rollback_rolls_back(store: LeadingBackend) -> None:
    await store.apply(user("u1"), user("u2", "kept"))
    letter = await corrected(store, rollback("r", target="u1"))
    await store.apply(dead("d", "replay", letter.id))
    assert await store.texts() == ["kept"]


async def test_a_replayed_delete_deletes(store: LeadingBackend) -> None:
    await store.apply(user("u1"))
    letter = await corrected(store, delete("x"))
    await store.apply(dead("d", "replay", letter.id))
    assert await store.keys() == set()
    assert await store.letters() == []
    assert await store.result("x") == "applied"


async def test_a_rollback_that_came_before_its_dead_target_holds_for_the_replay(
    store: LeadingBackend,
) -> None:
    await store.apply(rollback("r1", target="u1"), poison("u1"), rollback("r2", target="u1"))
    assert await store.result("u1") == "unknown_type"
    assert await store.result("r2") == "already_rolled_back"
    await store.apply(user("u1"))
    await store.apply(dead("d", "replay", (await letter_of(store)).id))
    assert await store.result("u1") == "already_rolled_back"
    assert await store.texts() == []


async def test_what_would_die_again_stays(store: LeadingBackend) -> None:
    await store.apply(poison("e1"))
    letter = await letter_of(store)
    await store.apply(dead("d", "replay", letter.id))
    assert await store.result("d") == "still_dead"
    assert await store.letters() == [letter]
    assert await store.result("e1") == "unknown_type"


async def test_an_unknown_version_waits_for_a_later_turnstream(store: LeadingBackend) -> None:
    await store.apply(user("e1") | {"v": "2"})
    letter = await letter_of(store)
    await store.apply(dead("d", "replay", letter.id))
    assert await store.result("d") == "still_dead"
    assert await store.letters() == [letter]


async def test_a_conflict_whose_id_took_effect_stays_dead(store: LeadingBackend) -> None:
    await store.apply(user("e1", "first"), user("e1", "second"))
    await store.apply(dead("d", "replay", (await letter_of(store)).id))
    assert await store.result("d") == "still_dead"
    assert await store.texts() == ["first"]


async def test_of_two_corrections_one_takes_effect(store: LeadingBackend) -> None:
    await store.apply(poison("e1"), user("e1", "one"), user("e1", "two"))
    two, one, _ = await store.letters()
    await store.apply(dead("d1", "replay", two.id), dead("d2", "replay", one.id))
    assert await store.texts() == ["two"]
    assert await store.result("d2") == "still_dead"


async def test_what_was_undecodable_cannot_be_replayed(store: LeadingBackend) -> None:
    await store.apply(user("e1") | {"content": b"\xff"})
    await store.apply(dead("d", "replay", (await letter_of(store)).id))
    assert await store.result("d") == "not_replayable"


@pytest.mark.parametrize("size", [70_000, 300_000])
async def test_what_was_cut_cannot_be_replayed(store: LeadingBackend, size: int) -> None:
    await store.apply(poison("e1"), user("e1", "x" * size))
    await store.apply(dead("d", "replay", (await letter_of(store)).id))
    assert await store.result("d") == "not_replayable"
    assert len(await store.letters()) == 2


def cut_between_fields() -> Fields:
    """A good event whose first 64 KiB end exactly between its last two fields."""
    empty = wire.frame(part.encode() for pair in user("e1", "").items() for part in map(str, pair))
    # The content's own length takes four digits more than the 0 that stands there now.
    content = "x" * (wire.DEAD_PAYLOAD - len(empty) - 4)
    return {**user("e1", content), "at": "2026-01-01T00:00:00Z"}


async def test_a_cut_between_two_fields_is_a_cut(store: LeadingBackend) -> None:
    fields = cut_between_fields()
    await store.apply(poison("e1"), fields)
    letter = await letter_of(store)
    assert len(letter.payload) == wire.DEAD_PAYLOAD
    assert len(wire.unframe(letter.payload)) == 2 * len(fields) - 2
    await store.apply(dead("d", "replay", letter.id))
    assert await store.result("d") == "not_replayable"


async def test_a_dead_event_is_not_replayed_by_another(store: LeadingBackend) -> None:
    letter = await corrected(store, user("e1"))
    await store.apply(poison("d1"), dead("d1", "replay", letter.id))
    await store.apply(dead("d2", "replay", (await letter_of(store)).id))
    assert await store.result("d2") == "still_dead"
    assert await store.texts() == []


@pytest.mark.parametrize("action", ["replay", "purge"])
async def test_there_may_be_no_such_letter(store: LeadingBackend, action: str) -> None:
    await store.apply(dead("d", action, "nothing"))
    assert await store.result("d") == "no_dead_letter"
    assert (await store.outcome("d")).session is None


# -- purge ---------------------------------------------------------------------------------------


async def test_a_purged_letter_is_gone_and_its_outcome_stays(store: LeadingBackend) -> None:
    await store.apply(poison("e1"), poison("e2"))
    newer, older = await store.letters()
    await store.apply(dead("d", "purge", older.id))
    assert await store.letters() == [newer]
    assert await store.backend.dead_letter(older.id) is None
    assert await store.result("d") == "applied"
    assert await store.result("e1") == "unknown_type"


async def test_a_letter_is_purged_once(store: LeadingBackend) -> None:
    await store.apply(poison("e1"))
    letter = await letter_of(store)
    await store.apply(dead("d1", "purge", letter.id), dead("d2", "purge", letter.id))
    assert await store.result("d2") == "no_dead_letter"


async def test_letters_can_be_purged_in_the_batch_that_made_them(store: LeadingBackend) -> None:
    entry = store.stream.entry(poison("e1"))
    framed = wire.frame(entry.raw.fields)
    letter_id = f"{entry.raw.stream_id}-{hashlib.sha256(framed).hexdigest()[:12]}"
    purge = store.stream.entry(dead("d", "purge", letter_id))
    await store.apply_entries([entry, purge])
    assert await store.letters() == []
    assert await store.result("d") == "applied"


# -- erasure of a session's letters --------------------------------------------------------------


@pytest.mark.parametrize("end", [reset("x"), delete("x")], ids=["reset", "delete"])
async def test_a_sessions_letters_go_with_its_text(store: LeadingBackend, end: Fields) -> None:
    await store.apply(context("c"), poison("e1"), poison("e2", session="t"), end)
    assert [letter.event_id for letter in await store.letters()] == ["e2"]
    assert await store.result("e1") == "unknown_type"


async def test_a_conflicts_letter_belongs_to_the_session_that_it_names(
    store: LeadingBackend,
) -> None:
    await store.apply(context("c"), user("e1"), user("e1", session="t"), reset("x"))
    assert [letter.session for letter in await store.letters()] == ["t"]


async def test_letters_are_shown_newest_first_and_page_by_page(store: LeadingBackend) -> None:
    await store.apply(*(poison(f"e{n}") for n in range(7)))
    shown: list[str | None] = []
    cursor = None
    while True:
        page = await store.backend.dead_letters(limit=3, cursor=cursor)
        shown += [letter.event_id for letter in page.items]
        await store.apply(poison(f"later{len(shown)}"))
        cursor = page.next_cursor
        if cursor is None:
            break
    assert shown == [f"e{n}" for n in reversed(range(7))]


async def test_there_is_no_letter_of_an_unknown_id(store: LeadingBackend) -> None:
    assert await store.backend.dead_letter("nothing") is None


async def test_a_stream_id_of_the_highest_numbers_is_kept(store: LeadingBackend) -> None:
    top = 2**64 - 1
    entries = [
        entry_at(StreamId(top, top - 1), user("e1")),
        entry_at(StreamId(top, top), poison("e2")),
    ]
    cursor = await store.apply_entries(entries)
    assert cursor.applied == (top, top)
    assert (await store.backend.cursor()).applied == (top, top)
    assert (await store.outcome("e1")).position.stream_id == (top, top - 1)
    assert (await letter_of(store)).stream_id == (top, top)
    await store.apply_entries(entries)
    assert (await store.outcome("e1")).duplicates == 0


async def test_a_corrected_event_is_what_the_producer_meant(store: LeadingBackend) -> None:
    letter = await corrected(store, reply("e1", "answer", turn="u1"))
    body = wire.decode(RawEntry(letter.stream_id, wire.unframe(letter.payload))).body
    assert isinstance(body, Event)
    assert (body.role, body.content, body.turn) == ("assistant", "answer", "u1")
