"""The messages of one Discord channel that are not taken in yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ingest.channels.discord.rest import PAGE
from ingest.channels.discord.snowflakes import first_at, number_of, time_of
from sessions import times

# Microseconds that are read again before a mark: Discord gives ids in several places at once, so
# that a lower one may come to us a moment after a higher one.
_OVERLAP: Final = 5 * times.SECOND
# Messages that are kept in memory. The others are read from Discord later.
_MOST_WAITING: Final = 500


@dataclass
class Line:
    """One channel. Everything up to `mark` is done; nothing up to `floor` is ever read.

    `read` is how far its history was read, None if what the gateway brings is complete.
    `is_checked` says whether the present session of the gateway was compared with the mark.
    """

    channel: int
    guild: str | None
    mark: int
    floor: int
    read: int | None = None
    is_checked: bool = False
    _newest: int = 0
    _is_short: bool = False
    _waiting: dict[int, Mapping[str, Any]] = field(default_factory=dict[int, Mapping[str, Any]])

    @property
    def has_work(self) -> bool:
        """Whether anything is to be read or to be taken in."""
        return self.read is not None or bool(self._waiting)

    @property
    def has_room(self) -> bool:
        """Whether more may be read now."""
        return len(self._waiting) < _MOST_WAITING

    @property
    def due(self) -> list[tuple[int, Mapping[str, Any]]]:
        """What may be taken in now, in order: nothing that stands behind what is not read yet."""
        ready = [number for number in self._waiting if self.read is None or number <= self.read]
        return [(number, self._waiting[number]) for number in sorted(ready)]

    def read_again(self) -> None:
        """Have whatever Discord holds behind the mark read."""
        self.is_checked = True
        self.read = max(self.floor, first_at(time_of(self.mark) - _OVERLAP))

    def add(self, number: int, raw: Mapping[str, Any]) -> None:
        """Keep a message that the gateway brought, or have it read later."""
        if self.has_room:
            self._waiting[number] = raw
        else:
            self._is_short = True
        if not self.is_checked or (self._is_short and self.read is None):
            self.read_again()

    def add_page(self, page: Sequence[Mapping[str, Any]]) -> None:
        """Keep what was read behind `read`."""
        assert self.read is not None
        for raw in page:
            number = number_of(raw.get("id"))
            if number is not None:
                # Only what the gateway brings names the guild.
                self._waiting.setdefault(number, {**raw, "guild_id": self.guild})
                self.read = max(self.read, number)
        self.expect(self.read)
        if len(page) < PAGE and not self._is_short:
            self.read = None
        self._is_short = False

    def expect(self, number: int) -> None:
        """There are messages up to this one."""
        self._newest = max(self._newest, number)

    def give_up_reading(self) -> None:
        """What is written there is not for us, also if we may read it one day."""
        self.read = None

    def is_done(self, number: int) -> None:
        """The message is taken in, or nobody's."""
        self._waiting.pop(number, None)
        self.expect(number)

    def move_mark(self) -> None:
        """Put the mark where nothing before it is missing."""
        end = min(self._waiting) - 1 if self._waiting else self._newest
        if self.read is not None:
            end = min(end, self.read)
        self.mark = max(self.mark, end)
