"""What the engine asks of the place where the text of messages lies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from sessions.store.engine.rows import MessageRow, SessionRow

Run = Callable[..., Awaitable[list[tuple[Any, ...]]]]


class Texts(Protocol):
    """Where the text of messages lies: in the rows, or in files beside them.

    `store` to `describe` are called inside a writing transaction, and one of `undo` (before a
    rollback, under the lock) and `forget` (at its end, always) follows.
    """

    kind: str
    """`rows` or `files`, as the store remembers it."""

    async def store(
        self, messages: Sequence[MessageRow], keys: Mapping[int, str]
    ) -> Sequence[MessageRow]:
        """Take the content of new messages; the rows to write, which need not hold it."""
        ...

    async def load(self, messages: Sequence[MessageRow]) -> list[str]:
        """The contents of stored messages, in order."""
        ...

    async def remove(self, session: SessionRow, messages: Sequence[MessageRow]) -> None:
        """Forget the text of these messages of a session; their rows go afterwards."""
        ...

    async def end(self, session: SessionRow, *, deleted: bool) -> None:
        """Forget all text of a session that is emptied or deleted."""
        ...

    async def describe(self, sessions: Sequence[SessionRow]) -> None:
        """Tell beside the texts whose sessions these are; called whenever that has changed."""
        ...

    async def committed(self) -> None:
        """The transaction in hand is committed. If this is not called, that is found out later."""
        ...

    async def undo(self) -> None:
        """Take back what the transaction in hand has done."""
        ...

    def forget(self) -> None:
        """The transaction in hand has ended."""
        ...

    async def settle(self) -> None:
        """Finish what a committed `remove` or `end` left to do, in a transaction of its own."""
        ...

    async def recover(self) -> None:
        """Undo what a leader left that died in a transaction; called as the lead is taken."""
        ...

    def close(self) -> None:
        """Let go of what was opened."""
        ...
