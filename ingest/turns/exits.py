"""Why a turn is not run, or not to its end, by the replica that holds its lane."""

from __future__ import annotations

from ingest.turns.live import Interruption, LiveTurn


class TurnHandedOver(Exception):
    """The process ends; the replica that takes the lane over goes on from here."""


class SessionUnavailable(Exception):
    """The session is not the agent's."""


class AlreadyRun(Exception):
    """The message was taken care of before: it was delivered again."""


class OrphanedTurn(Exception):
    """The message opened a turn before, which nothing ended; no lane knows of it any more."""


def check_staying(turn: LiveTurn) -> None:
    """Raise TurnHandedOver if the process ends."""
    if turn.interruption is Interruption.STOP:
        raise TurnHandedOver
