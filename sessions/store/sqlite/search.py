"""The search index: words of the messages in FTS5, which keeps no text beside them.

Deleted words stay in the index until its parts are merged into one. Each such merge makes FTS5
(3.40 here) open levels that it never closes, two at most, and of more than 2,000 it says that the
index is corrupt. So merges are counted, and after many the index is written again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from sessions.store.engine.rows import MessageRow, columns
from sessions.store.sqlite.connection import WritingConnection
from sessions.store.sqlite.rows import TextRow
from sessions.store.sqlite.statements import Query, RepeatedStatement, Statement, insertion
from sessions.text import fold_for_search

# Messages in one step of writing it again, so that the supervisor sees steps.
_REWRITE_STEP: Final = 1000
# FTS5 writes a segment out before and after each statement over many rows: so there is one.
_INSERT_WORDS: Final = insertion("search", "rowid, body")
_DROP_WORDS: Final = "INSERT INTO search (search, rowid, body) VALUES ('delete', ?, ?)"
# Pages of the search index merged in one step of housekeeping, about 10 ms.
_MERGE_STEP: Final = 128
# Rounds of merging after which the index is written again: half of what makes FTS5 fail.
_MANY_MERGES: Final = 500
_COUNT_AGAIN: Final = Query("UPDATE store SET merges = 0")
_DROP_ALL: Final = Query("INSERT INTO search (search) VALUES ('delete-all')")
_SOME_MESSAGES: Final = (
    f"SELECT {columns(TextRow)} FROM messages WHERE id > ? ORDER BY id LIMIT {_REWRITE_STEP}"
)

# Texts with the ids of their messages.
Contents = Iterable[tuple[int, str]]
# Gives the messages of rows, whose texts may lie elsewhere.
WithTexts = Callable[[Sequence[TextRow]], Awaitable[list[MessageRow]]]


def indexing(contents: Contents) -> list[Statement]:
    """What takes these messages into the index."""
    return _INSERT_WORDS.of(_folded(contents))


def dropping(contents: Contents) -> list[Statement]:
    """What takes them out again; the texts must be the ones that were indexed."""
    return [RepeatedStatement(_DROP_WORDS, _folded(contents))]


def _folded(contents: Contents) -> list[tuple[int, str]]:
    return [(number, fold_for_search(text)) for number, text in contents]


async def merge(connection: WritingConnection, with_texts: WithTexts, *, begun: bool) -> bool:
    """One step of ridding the index of its deleted words; whether more waits.

    The caller is inside a writing transaction. `begun` is what the step before returned.
    """
    if not begun and await _is_worn(connection):
        await _rewrite(connection, with_texts)
        return False
    before = connection.total_changes
    # A negative number begins by taking all parts together, a positive one goes on.
    await connection.run(
        "INSERT INTO search (search, rank) VALUES ('merge', ?)",
        (_MERGE_STEP if begun else -_MERGE_STEP,),
    )
    # FTS5 documents fewer than two changes as "nothing was left to merge".
    return connection.total_changes - before >= 2


async def _is_worn(connection: WritingConnection) -> bool:
    """Count one more round of merging; whether there were too many."""
    [(merges,)] = await connection.run("UPDATE store SET merges = merges + 1 RETURNING merges")
    return merges > _MANY_MERGES


async def _rewrite(connection: WritingConnection, with_texts: WithTexts) -> None:
    """Write the index again from the messages: 100,000 of them take about 0.7 s."""
    await connection.script([_DROP_ALL, _COUNT_AGAIN])
    last = 0
    while rows := await connection.run(_SOME_MESSAGES, (last,)):
        messages = await with_texts([TextRow(*row) for row in rows])
        await connection.script(indexing((row.id, row.content) for row in messages))
        last = messages[-1].id
