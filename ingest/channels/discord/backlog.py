"""Takes messages in that came and those that were missed, each Discord channel's for itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn, Protocol

from ingest.channels.base import Undeliverable
from ingest.channels.discord.lines import Line
from ingest.channels.discord.marks import Watermarks
from ingest.channels.discord.rest import InvalidToken
from ingest.channels.intake import MessageIntake, RefusedPlaces
from sessions.errors import Retryable
from sessions.process.tasks import TaskWatcher

log = logging.getLogger(__name__)

# Seconds until what was refused is tried again.
_AGAIN: Final = 1.0
# Channels whose messages are read from Discord at a time.
_READERS: Final = 4


class MissedMessages(Protocol):
    """Where missed messages are read."""

    async def messages_after(self, channel: int, mark: int) -> Sequence[Mapping[str, Any]]:
        """The oldest messages behind that id. Raises Retryable, InvalidToken or Undeliverable."""
        ...


class Backlog:
    """All lines of one connection to the gateway.

    A message that is refused waits here, and holds back its own session only. `run` takes in what
    `bring` and `look_behind` name, for ever.
    """

    def __init__(self, intake: MessageIntake, history: MissedMessages, marks: Watermarks) -> None:
        self._intake = intake
        self._history = history
        self._marks = marks
        self._lines: dict[int, Line] = {}
        self._busy: set[int] = set()
        self._news: asyncio.Queue[Line] = asyncio.Queue()
        self._readers = asyncio.Semaphore(_READERS)

    def begin_session(self) -> None:
        """The gateway does not bring what was missed: every channel's history must be looked at."""
        for line in self._lines.values():
            line.is_checked = False
        for channel in self._marks.direct:
            self.look_behind(channel, None, newest=None)

    def bring(self, number: int, channel: int, raw: Mapping[str, Any]) -> None:
        """Take in a message that the gateway brought."""
        guild = raw.get("guild_id")
        line = self._line(channel, guild if isinstance(guild, str) else None)
        line.add(number, raw)
        self._wake(line)

    def look_behind(
        self, channel: int, guild: str | None, *, newest: int | None, floor: int = 0
    ) -> None:
        """Read what a channel has behind its mark; `newest` is its last message, if it is known."""
        line = self._line(channel, guild, floor=floor)
        if newest is not None and newest <= line.mark:
            line.is_checked = True
            return
        line.expect(newest or 0)
        line.read_again()
        self._wake(line)

    async def run(self) -> None:
        """Take in for ever; raises RedisRefused, Undeliverable, or what nobody foresaw."""
        failed: asyncio.Future[NoReturn] = asyncio.get_running_loop().create_future()

        def fail(_name: str, error: BaseException) -> None:
            if not failed.done():
                failed.set_exception(error)

        async with TaskWatcher(fail) as tasks:
            tasks.start(self._start_lines(tasks), "lines of Discord channels")
            await failed

    async def _start_lines(self, tasks: TaskWatcher) -> NoReturn:
        while True:
            line = await self._news.get()
            tasks.start(self._work_on(line), f"Discord channel {line.channel}")

    def _line(self, channel: int, guild: str | None, *, floor: int = 0) -> Line:
        if channel not in self._lines:
            mark, floor = self._marks.of(channel, floor=floor), self._marks.beginning(floor)
            self._lines[channel] = Line(channel, guild, mark, floor)
        return self._lines[channel]

    def _wake(self, line: Line) -> None:
        if line.channel not in self._busy:
            self._busy.add(line.channel)
            self._news.put_nowait(line)

    async def _work_on(self, line: Line) -> None:
        """Until the line is empty. Without a limit: Discord keeps the messages for us."""
        while line.has_work:
            if not await self._advance(line):
                await asyncio.sleep(_AGAIN)
        self._busy.discard(line.channel)

    async def _advance(self, line: Line) -> bool:
        """One round; False if something must wait."""
        try:
            if line.read is not None and line.has_room:
                await self._read_on(line, line.read)
            is_taken = await self._take_in(line)
            line.move_mark()
            await self._marks.move(line.channel, line.mark, is_direct=line.guild is None)
        except Retryable as error:
            log.warning("the Discord channel %d waits: %s", line.channel, error)
            return False
        return is_taken

    async def _read_on(self, line: Line, read: int) -> None:
        try:
            async with self._readers:
                page = await self._history.messages_after(line.channel, read)
        except InvalidToken:
            raise
        except Undeliverable as error:
            # One channel's fault must not end what the others are brought by.
            log.info("the Discord channel %d is not read: %s", line.channel, error)
            line.give_up_reading()
        else:
            line.add_page(page)

    async def _take_in(self, line: Line) -> bool:
        refused: RefusedPlaces = set()
        is_taken = True
        for number, raw in line.due:
            if await self._intake.accept(number, raw, refused):
                line.is_done(number)
            else:
                is_taken = False
        return is_taken
