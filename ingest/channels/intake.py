"""Takes in what a channel fetched, one by one, so that no message can stop the others."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from ingest.channels.base import ChannelMessage, Take, Unreadable
from ingest.channels.failure_counts import ChannelFailure
from sessions.errors import InvalidEvent, RedisRefused, Retryable

log = logging.getLogger(__name__)

# Tries of an update that fails in a way that nobody foresaw. What passes by itself has no limit.
_TRIES: Final = 5

# What was refused in one round: the places (target and sender) whose messages wait.
RefusedPlaces = set[tuple[str, str] | None]


class UpdateReader(Protocol):
    """What knows how a platform's updates are read, and counts what went wrong with them."""

    async def message_in(self, update: Mapping[str, Any]) -> ChannelMessage | None:
        """The message in an update, None if it has none for us.

        Raises Unreadable, Retryable or Undeliverable.
        """
        ...

    def count(self, trouble: ChannelFailure) -> None:
        """Count what went wrong with an update."""
        ...


class MessageIntake:
    """Takes updates in, by their numbers. `name` is the channel's, for the log."""

    def __init__(self, reader: UpdateReader, take: Take, *, name: str) -> None:
        self._reader = reader
        self._take = take
        self._name = name
        self._tries: Counter[int] = Counter()

    async def accept(self, number: int, update: Mapping[str, Any], refused: RefusedPlaces) -> bool:
        """Whether the update is done with: taken in, left out, or nobody's.

        What was refused before in the same round holds back what follows in its own session.
        """
        place = None
        try:
            incoming = await self._reader.message_in(update)
            if incoming is None:
                return True
            place = (incoming.target, incoming.sender)
            if place in refused:
                return False
            await self._take(incoming)
        except (Unreadable, InvalidEvent) as error:
            is_broken = isinstance(error, Unreadable)
            self._leave_out(
                number, ChannelFailure.UNREADABLE if is_broken else ChannelFailure.LEFT_OUT, error
            )
        except Retryable as error:
            log.warning("%s: a message waits: %s", self._name, error)
            refused.add(place)
            return False
        except RedisRefused:
            # No message is to blame, so none is left out.
            raise
        except Exception as error:  # noqa: BLE001 - one message must not end what others wait for
            if self._may_try_again(number, error):
                refused.add(place)
                return False
        self._tries.pop(number, None)
        return True

    def forget(self, is_over: Callable[[int], bool]) -> None:
        """Count no more tries of the updates that will not come again."""
        for number in [number for number in self._tries if is_over(number)]:
            del self._tries[number]

    def _may_try_again(self, number: int, error: Exception) -> bool:
        """After an error that nobody foresaw: whether the update gets another try."""
        self._tries[number] += 1
        if self._tries[number] == 1:
            log.error("%s: update %d failed", self._name, number, exc_info=error)
        if self._tries[number] < _TRIES:
            return True
        self._leave_out(number, ChannelFailure.LEFT_OUT, f"it failed {_TRIES} times")
        return False

    def _leave_out(self, number: int, trouble: ChannelFailure, why: object) -> None:
        self._reader.count(trouble)
        log.warning("%s: update %d is left out: %s", self._name, number, why)
