"""Workspaces with several files of one session: each message is read once, and none goes dark."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

from sessions.zeroclaw.finding import find_sources
from tests.zeroclaw.making import (
    Known,
    Said,
    Story,
    lines_of,
    make_jsonl,
    make_mixed,
    make_sqlite,
)
from tests.zeroclaw.reading import Found, read

Read = Callable[[], Found]
SAID: Final = [Said("k", "user", "one"), Said("k", "assistant", "two")]
STORY: Final = Story([Known("k")], SAID)
MORE: Final = Story([Known("k")], [*SAID, Said("k", "user", "three")])
OTHER: Final = Story([Known("k")], [Said("k", "user", "something else")])
ONE: Final = Story([Known("k")], SAID[:1])
TEXTS: Final = {
    "story": [("user", "one"), ("assistant", "two")],
    "more": [("user", "one"), ("assistant", "two"), ("user", "three")],
    "other": [("user", "something else")],
    "one": [("user", "one")],
}
STORIES: Final = {"story": STORY, "more": MORE, "other": OTHER, "one": ONE}
LIVE, STAGED, MIGRATED = "k.jsonl", "k.jsonl.importing", "k.jsonl.migrated"
ARCHIVED, ARCHIVED_MIGRATED = "archive/k.jsonl", "archive/k.jsonl.migrated"


def place(directory: Path, files: Mapping[str, str]) -> None:
    """Put the file of a story under each name."""
    for name, story in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lines_of(STORIES[story], "k"))


# The files, whose story is read, what is history, what is set aside.
ONLY_FILES: Final = [
    ({LIVE: "story", STAGED: "story"}, "story", {STAGED}, set[str]()),
    ({LIVE: "more", STAGED: "story"}, "more", {STAGED}, set[str]()),
    ({LIVE: "story", STAGED: "other"}, "story", set[str](), {STAGED}),
    ({STAGED: "story"}, "story", set[str](), set[str]()),
    ({MIGRATED: "story"}, "story", set[str](), set[str]()),
    ({ARCHIVED: "story"}, "story", set[str](), set[str]()),
    ({ARCHIVED_MIGRATED: "story"}, "story", set[str](), set[str]()),
    ({"archive/k.jsonl_1.migrated": "story"}, "story", set[str](), set[str]()),
    ({LIVE: "story", ARCHIVED: "one"}, "story", {ARCHIVED}, set[str]()),
    ({LIVE: "one", ARCHIVED: "story"}, "one", set[str](), {ARCHIVED}),
    ({STAGED: "story", MIGRATED: "story"}, "story", {MIGRATED}, set[str]()),
    ({LIVE: "story", MIGRATED: "other", ARCHIVED: "one"}, "story", {ARCHIVED}, {MIGRATED}),
]


def check(found: Found, texts: str | None, history: set[str], aside: set[str]) -> None:
    """What was read, skipped and set aside."""
    assert found.texts("k") == (TEXTS[texts] if texts else [])
    assert found.keys.count("k") == (texts is not None)
    assert {remark.source for remark in found.remarks} == history
    assert {each.source for each in found.aside} == aside
    assert all("skipped" in remark.text for remark in found.remarks)


@pytest.mark.parametrize(("given", "texts", "history", "aside"), ONLY_FILES)
def test_of_several_files_the_one_that_counts_most_is_read(
    sessions: Path,
    read_here: Read,
    given: Mapping[str, str],
    texts: str,
    history: set[str],
    aside: set[str],
) -> None:
    place(sessions, given)
    found = read_here()
    check(found, texts, history, aside)
    for each in found.aside:
        assert each.data == lines_of(STORIES[given[each.source]], "k")


# The same beside a database that holds the story.
BESIDE: Final = [
    ({LIVE: "story"}, {LIVE}, set[str]()),
    ({LIVE: "one"}, {LIVE}, set[str]()),
    ({LIVE: "more"}, set[str](), {LIVE}),
    ({LIVE: "other"}, set[str](), {LIVE}),
    ({STAGED: "story"}, {STAGED}, set[str]()),
    ({MIGRATED: "other"}, set[str](), {MIGRATED}),
    ({MIGRATED: "one", ARCHIVED: "story"}, {MIGRATED, ARCHIVED}, set[str]()),
]


@pytest.mark.parametrize(("given", "history", "aside"), BESIDE)
def test_the_database_counts_more_than_any_file(
    sessions: Path,
    read_here: Read,
    given: Mapping[str, str],
    history: set[str],
    aside: set[str],
) -> None:
    make_sqlite(sessions / "sessions.db", STORY)
    place(sessions, given)
    check(read_here(), "story", history, aside)


@pytest.mark.parametrize("name", [LIVE, STAGED, MIGRATED, ARCHIVED, ARCHIVED_MIGRATED])
def test_what_has_a_receipt_is_history_also_if_its_session_was_deleted(
    sessions: Path, read_here: Read, name: str
) -> None:
    make_sqlite(sessions / "sessions.db", Story([], []), receipts={"k": lines_of(STORY, "k")})
    place(sessions, {name: "story"})
    check(read_here(), None, {name}, set())


@pytest.mark.parametrize("name", [LIVE, STAGED, MIGRATED, ARCHIVED])
@pytest.mark.parametrize(
    "other",
    [lines_of(ONE, "k"), lines_of(STORY, "k").replace(b"o", b"x")],
    ids=["of another length", "of the same length"],
)
def test_a_receipt_for_other_bytes_counts_for_nothing(
    sessions: Path, read_here: Read, name: str, other: bytes
) -> None:
    make_sqlite(sessions / "sessions.db", Story([], []), receipts={"k": other})
    place(sessions, {name: "story"})
    check(read_here(), "story", set(), set())


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.importing", ".jsonl.migrated"])
def test_what_the_database_does_not_know_is_read_beside_it(
    sessions: Path, read_here: Read, suffix: str
) -> None:
    both = Story([Known("k"), Known("in the database")], [*SAID, Said("in the database", "u", "x")])
    make_mixed(sessions, both, {"k": suffix})
    found = read_here()
    assert found.keys == ["in the database", "k"]
    check(found, "story", set(), set())


def test_metadata_alone_makes_a_session_of_the_database(sessions: Path, read_here: Read) -> None:
    make_sqlite(sessions / "sessions.db", Story([Known("k")], []))
    place(sessions, {LIVE: "story"})
    found = read_here()
    assert found.texts("k") == []
    assert [each.source for each in found.aside] == [LIVE]


def test_messages_alone_make_a_session_of_the_database(sessions: Path, read_here: Read) -> None:
    make_sqlite(sessions / "sessions.db", Story([], SAID))
    place(sessions, {LIVE: "other"})
    found = read_here()
    assert found.texts("k") == TEXTS["story"]
    assert [each.source for each in found.aside] == [LIVE]


def test_damaged_lines_do_not_keep_a_file_from_being_history(
    sessions: Path, read_here: Read
) -> None:
    make_sqlite(sessions / "sessions.db", STORY)
    (sessions / LIVE).write_bytes(lines_of(ONE, "k") + b"damage\n\n")
    check(read_here(), "story", {LIVE}, set())


def test_keys_that_differ_by_case_are_not_mixed(sessions: Path, read_here: Read) -> None:
    make_sqlite(sessions / "sessions.db", STORY)
    make_jsonl(sessions, Story([Known("K")], [Said("K", "user", "mine")]))
    found = read_here()
    assert found.keys == ["k", "K"]
    assert found.texts("K") == [("user", "mine")]


def test_the_sources_of_one_session_may_be_read_in_any_order(
    workspace: Path, sessions: Path, scratch: Path
) -> None:
    place(sessions, {LIVE: "story", STAGED: "other", ARCHIVED: "one"})
    sources = find_sources(workspace, scratch)
    assert [source.name for source in sources] == [ARCHIVED, LIVE, STAGED]
    check(read(reversed(sources)), "story", {ARCHIVED}, {STAGED})
