"""Finding by looking at everything: filters, pages and words, as plainly as they can be written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from sessions.models import Session
from sessions.reading import Page, Scope, SessionFilter
from sessions.store.cursors import cursor_after, rank_of
from sessions.text import search_words

T = TypeVar("T")
Rank = tuple[int, ...]


def is_shown(session: Session, scope: Scope | None, where: SessionFilter | None = None) -> bool:
    """Whether a live session is in scope and passes the filter."""
    if scope is not None and not scope.has(session.agent, session.channel):
        return False
    return where is None or (
        where.agent in (None, session.agent)
        and where.channel in (None, session.channel)
        and where.state in (None, session.state)
        and (where.since is None or session.last_activity >= where.since)
        and session.key.startswith(where.prefix or "")
    )


def page_of(
    ranked: Iterable[tuple[Rank, T]], limit: int, cursor: str | None, *, places: int = 1
) -> Page[T]:
    """The items that rank highest below the cursor, which is the rank of the last one shown."""
    bound = rank_of(cursor, places=places) if cursor is not None else None
    below = [one for one in ranked if bound is None or one[0] < bound]
    below.sort(key=lambda one: one[0], reverse=True)
    more = cursor_after(below[limit - 1][0]) if len(below) > limit else None
    return Page([item for _, item in below[:limit]], more)


class SearchWords:
    """What a query wants of a text: each of its words, and the parts of a word in a row."""

    def __init__(self, query: str) -> None:
        self._phrases = [words for words in map(search_words, query.split()) if words]

    def is_in(self, text: str) -> bool:
        """Whether all of it is in the text; a query without a word is in none."""
        words = search_words(text)
        return bool(self._phrases) and all(_occurs(one, words) for one in self._phrases)


def _occurs(phrase: list[str], words: list[str]) -> bool:
    """Whether the words of the phrase follow each other somewhere."""
    starts = range(len(words) - len(phrase) + 1)
    return any(words[start : start + len(phrase)] == phrase for start in starts)
