"""How a turn ends on the stream: under which ids, so that everybody who waits for it finds it."""

from __future__ import annotations

from enum import StrEnum


class Closing(StrEnum):
    """How a turn was closed that its agent did not answer to the end.

    It is published under the id `{turn}:{closing}` before the reply, so that it is known wherever
    the reply is: the text of a reply may end with any words.
    """

    FAILED = "failed"
    TIMED_OUT = "timed_out"
    INTERRUPTED = "interrupted"
    ABORTED = "aborted"
    """By the user, which is no failure."""

    def event_id(self, turn: str) -> str:
        """The id under which it is published of that turn."""
        return f"{turn}:{self}"


def reply_id(turn: str) -> str:
    """The id of the last append of that turn: its reply, or what closes it."""
    return f"{turn}:reply"


def rollback_id(turn: str) -> str:
    """The id of what takes that turn's message back, if it can never be answered."""
    return f"{turn}:rollback"
