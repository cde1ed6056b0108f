"""Why a turn is not run, or not to its end, by the replica that holds its lane."""

from __future__ import annotations

from ingest.turns.live import Interruption, LiveTurn


class Left(Exception):
    """The process ends; the replica that takes the lane over goes on from here."""


class Unavailable(Exception):
    """The session is not the agent's."""


class RunBefore(Exception):
    """The message was taken care of before: it was delivered again."""


class Orphaned(Exception):
    """The message opened a turn before, which nothing ended; no lane knows of it any more."""


def check_staying(turn: LiveTurn) -> None:
    """Raise Left if the process ends."""
    if turn.interruption is Interruption.STOP:
        raise Left
