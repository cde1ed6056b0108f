"""Everything that a reader can see of a store, to be compared with what it sees of another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from sessions.reading import Page, Scope, SessionFilter
from sessions.store.backend import SessionBackend

T = TypeVar("T")

# Odd, and smaller than what is read, so that pages end everywhere.
_PAGE = 3


async def visible(
    backend: SessionBackend, *, keys: Iterable[str], ids: Iterable[str], words: Iterable[str]
) -> dict[str, Any]:
    """What the store shows of these sessions, ids and words, read in small pages."""
    return {
        "cursor": await backend.cursor(),
        "counts": await backend.counts(),
        "owners": await backend.owners(),
        "routing": {key: await backend.routing_of(key) for key in keys},
        "sessions": await everything(lambda at: backend.sessions(limit=_PAGE, cursor=at)),
        "lists": [await _listed(backend, *narrowed) for narrowed in _NARROWED],
        "messages": {key: await _history(backend, key) for key in keys},
        "hits": {word: await _hits(backend, word) for word in words},
        "outcomes": {one: await backend.outcome(one) for one in ids},
        "letters": await everything(lambda at: backend.dead_letters(limit=_PAGE, cursor=at)),
    }


async def everything(read: Callable[[str | None], Awaitable[Page[T]]]) -> list[T]:
    """The items of all pages."""
    items: list[T] = []
    cursor = None
    while True:
        page = await read(cursor)
        items += page.items
        cursor = page.next_cursor
        if cursor is None:
            return items


_NARROWED: tuple[tuple[Scope | None, SessionFilter | None], ...] = (
    (Scope("x", ("tg.1",)), None),
    (Scope("y"), SessionFilter(state="idle")),
    (Scope("x", ("tg.9",), ("tg",), ("tg.2",)), None),
    (None, SessionFilter(state="running", channel="tg.1")),
)


async def _listed(
    backend: SessionBackend, scope: Scope | None, where: SessionFilter | None
) -> list[str]:
    pages = await everything(
        lambda at: backend.sessions(scope=scope, where=where, limit=_PAGE, cursor=at)
    )
    return [session.key for session in pages]


async def _history(backend: SessionBackend, key: str) -> list[Any]:
    pages: list[Any] = []
    cursor = None
    while True:
        page = await backend.history(key, limit=_PAGE, cursor=cursor)
        pages.insert(0, page.items)
        cursor = page.next_cursor
        if cursor is None:
            return pages


async def _hits(backend: SessionBackend, word: str) -> list[tuple[str, str]]:
    hits = await everything(lambda at: backend.search(word, limit=_PAGE, cursor=at))
    return [(hit.session, hit.message.id) for hit in hits]
