"""Reading is fast enough to be done at a start. The time of the processor counts."""

from __future__ import annotations

import time
from pathlib import Path

from sessions.zeroclaw.finding import find_sources
from tests.zeroclaw.making import make_jsonl, make_sqlite, make_story

# A fifth of what has to be read in 5 s.
MESSAGES = 20_000
SECONDS = 1


def test_twenty_thousand_messages_are_read_in_a_second(tmp_path: Path, scratch: Path) -> None:
    story = make_story(1, sessions=200, messages=MESSAGES)
    make_sqlite(tmp_path / "database" / "sessions.db", story)
    make_jsonl(tmp_path / "files", story)
    for directory in (tmp_path / "database", tmp_path / "files"):
        began = time.process_time()
        count = sum(1 for source in find_sources(directory, scratch) for _ in source.read())
        assert count == MESSAGES + len(story.known)
        assert time.process_time() - began < SECONDS
