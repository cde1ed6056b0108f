"""Search: words without case and accents, newest first, within what the reader may see."""

from __future__ import annotations

import pytest

from sessions.reading import Scope
from tests.events import context, delete, reply, rollback, user
from tests.stores import LeadingBackend


async def test_a_message_with_every_word_is_found(store: LeadingBackend) -> None:
    await store.apply(user("e1", "the quick brown fox"), user("e2", "the quick dog"))
    assert await store.found("quick fox") == ["the quick brown fox"]
    assert await store.found("fox quick") == ["the quick brown fox"]
    assert await store.found("fox dog") == []


async def test_hits_come_newest_first_and_say_where_they_are(store: LeadingBackend) -> None:
    await store.apply(user("e1", "one word", session="a"), reply("e2", "a word", session="b"))
    hits = (await store.backend.search("word")).items
    assert [(hit.session, hit.message.id, hit.message.role) for hit in hits] == [
        ("b", "e2", "assistant"),
        ("a", "e1", "user"),
    ]
    assert hits[1].message == (await store.messages("a"))[0]


async def test_newest_means_the_order_of_the_stream(store: LeadingBackend) -> None:
    await store.apply(user("e1", "word one"), user("e2", "word two", at=store.clock.text(days=-9)))
    assert await store.found("word") == ["word two", "word one"]


@pytest.mark.parametrize("query", ["CAF\u00c9", "cafe", "Cafe\u0301", "\uff23\uff41\uff46\uff45"])
async def test_case_accents_and_width_make_no_difference(store: LeadingBackend, query: str) -> None:
    await store.apply(user("e1", "un caf\u00e9 noir"))
    assert await store.found(query) == ["un caf\u00e9 noir"]


async def test_only_whole_words_are_found(store: LeadingBackend) -> None:
    await store.apply(user("e1", "searching"))
    assert await store.found("search") == []


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("\u6211\u4eca\u5929\u5f88\u9ad8\u5174", "\u5929"),
        ("\u6211\u4eca\u5929\u5f88\u9ad8\u5174", "\u4eca\u5929"),
        ("\u6211\u4eca\u5929\u5f88\u9ad8\u5174", "\u5929\u5f88\u9ad8"),
        ("\u3053\u3093\u306b\u3061\u306f", "\u306b\u3061"),
        ("\uc548\ub155\ud558\uc138\uc694", "\ud558"),
        ("\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\u0e2a\u0e14"),
        ("abc\u4e2ddef", "\u4e2d"),
        ("abc\u4e2ddef", "abc"),
        ("good \U0001f600 day", "\U0001f600"),
    ],
)
async def test_without_blanks_every_substring_is_found(
    store: LeadingBackend, text: str, query: str
) -> None:
    await store.apply(user("e1", text))
    assert await store.found(query) == [text]


async def test_a_substring_is_one_piece(store: LeadingBackend) -> None:
    await store.apply(user("e1", "\u4eca\u5f88\u5929"))
    assert await store.found("\u4eca\u5929") == []
    assert await store.found("\u4eca \u5929") == ["\u4eca\u5f88\u5929"]


async def test_punctuation_inside_a_word_separates_the_parts_of_a_phrase(
    store: LeadingBackend,
) -> None:
    await store.apply(user("e1", "mail to ann@home.net now"), user("e2", "net home ann"))
    assert await store.found("ann@home.net") == ["mail to ann@home.net now"]
    assert await store.found("ann-home") == ["mail to ann@home.net now"]


QUERIES = [
    *("", " ", "?", '"', "'", "*", "()", "-", "...", '"""', "NEAR(", "^", "\0", "\n", 'a"b', "(a"),
    *("a*", "a:b", "col:", "-a", "a AND", "AND", "OR a", "NOT", "{a}", "\\", "%", "_", ";--"),
    *("\u200b", "\U000e0001", "\u0301"),
]


@pytest.mark.parametrize("query", QUERIES)
async def test_no_query_is_an_error(store: LeadingBackend, query: str) -> None:
    await store.apply(user("e1", "hello"))
    assert await store.found(query) == []


async def test_operators_are_words(store: LeadingBackend) -> None:
    await store.apply(user("e1", "salt AND pepper"), user("e2", "salt or pepper"))
    assert await store.found("salt AND pepper") == ["salt AND pepper"]
    assert await store.found("salt OR pepper") == ["salt or pepper"]


async def test_a_query_without_a_word_finds_nothing(store: LeadingBackend) -> None:
    await store.apply(user("e1", "hello ?"), user("e2", ""))
    page = await store.backend.search("? !")
    assert (page.items, page.next_cursor) == ([], None)


async def test_words_beside_punctuation_are_still_looked_for(store: LeadingBackend) -> None:
    await store.apply(user("e1", "hello there"))
    assert await store.found("? hello !") == ["hello there"]


async def test_a_search_in_one_session_finds_only_there(store: LeadingBackend) -> None:
    await store.apply(user("a1", "word a", session="a"), user("b1", "word b", session="b"))
    page = await store.backend.search("word", key="a")
    assert [hit.session for hit in page.items] == ["a"]
    assert (await store.backend.search("word", key="never")).items == []


async def test_a_search_stays_in_scope(store: LeadingBackend) -> None:
    await store.apply(
        user("e1", "word", session="own", agent="a"),
        user("e2", "word", session="free", channel="a.chan"),
        user("e3", "word", session="foreign", agent="b", channel="a.chan"),
        user("e4", "word", session="nobody's"),
    )
    page = await store.backend.search("word", scope=Scope("a", ("a.chan", "a.chan")))
    assert [hit.session for hit in page.items] == ["free", "own"]
    page = await store.backend.search("word", scope=Scope("a", ("a.chan",)), key="foreign")
    assert page.items == []


@pytest.mark.parametrize("limit", [1, 3, 7, 8])
async def test_hits_are_shown_page_by_page(store: LeadingBackend, limit: int) -> None:
    await store.apply(*(user(f"e{n}", f"word {n}", session=f"s{n % 3}") for n in range(7)))
    found: list[str] = []
    cursor = None
    while True:
        page = await store.backend.search("word", limit=limit, cursor=cursor)
        found += [hit.message.id for hit in page.items]
        await store.apply(user(f"late{len(found)}", "word"))
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == [f"e{n}" for n in reversed(range(7))]


async def test_what_is_gone_is_not_found(store: LeadingBackend) -> None:
    await store.apply(
        user("e1", "word one"),
        user("e2", "word two"),
        user("e3", "word three", session="t"),
        rollback("r", target="e1"),
        delete("x", session="t"),
    )
    assert await store.found("word") == ["word two"]


async def test_a_new_message_in_the_place_of_a_removed_one_is_found_by_its_own_words(
    store: LeadingBackend,
) -> None:
    await store.apply(user("e1", "old"), rollback("r", target="e1"))
    await store.apply(user("e2", "new"))
    assert await store.found("old") == []
    assert await store.found("new") == ["new"]


async def test_names_and_keys_are_not_searched(store: LeadingBackend) -> None:
    await store.apply(context("c", session="needle", channel="needle.x"))
    assert await store.found("needle") == []
