"""What readers of a store ask for, and how they are given it: scopes, filters, pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Scope:
    """Which sessions a reader may see: all of them, or an agent's own and its channels'.

    Sessions without an owner are the agent's if their channel is one of `channels`, or of one of
    `kinds` (the part before the dot) and none of `others`.
    """

    agent: str | None = None
    channels: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    def has(self, agent: str | None, channel: str | None) -> bool:
        """Whether a session of this owner and this channel is in the scope."""
        if self.agent is None or agent is not None:
            return self.agent in (None, agent)
        if channel is None:
            return False
        kind, dot, _ = channel.partition(".")
        return channel in self.channels or (
            bool(dot) and kind in self.kinds and channel not in self.others
        )


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """What a list is narrowed to; None does not. `since` is the least `last_activity`."""

    agent: str | None = None
    channel: str | None = None
    state: str | None = None
    since: int | None = None
    prefix: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items and the cursor of the next page, None on the last one.

    Give the cursor, unchanged, to the same question. A page may be short and not the last one.
    """

    items: list[T]
    next_cursor: str | None
