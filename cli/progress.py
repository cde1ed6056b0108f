"""Shows on stderr how far a long command is: a bar on a terminal, otherwise a line now and then."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, Protocol

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from cli.output import Output

# Seconds between two lines where there is no terminal, and before a remark is repeated.
_EVERY: Final = 5.0


class ProgressMeter(Protocol):
    """Where a command reports to."""

    def advance(self, number: int) -> None:
        """So many more are done."""
        ...

    def reach(self, number: int) -> None:
        """So many are done in all."""
        ...

    def say(self, text: str) -> None:
        """A remark; the same one again is shown seldom."""
        ...


@contextmanager
def shown_progress(output: Output, title: str, total: int | None) -> Generator[ProgressMeter]:
    """A meter that is shown for the time of the block; `total` None is not known."""
    if not output.errors.is_terminal:
        yield _Lines(output, title, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=output.errors, transient=True) as progress:
        yield _Bar(output, progress, progress.add_task(title, total=total, rate=""))


class RemarkFilter:
    """Lets a remark through that was not made a moment ago."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._last: tuple[str, float] = ("", 0.0)

    def say(self, text: str) -> None:
        """Print it, unless it is what was just printed."""
        last, moment = self._last
        now = time.monotonic()
        if text != last or now - moment >= _EVERY:
            self._last = (text, now)
            self._output.note(text)


class _Bar(RemarkFilter):
    def __init__(self, output: Output, progress: Progress, task: TaskID) -> None:
        super().__init__(output)
        self._progress = progress
        self._task = task

    def advance(self, number: int) -> None:
        self._progress.advance(self._task, number)
        speed = self._progress.tasks[0].speed
        if speed is not None:
            self._progress.update(self._task, rate=f"{speed:,.0f}/s")

    def reach(self, number: int) -> None:
        self.advance(number - round(self._progress.tasks[0].completed))


class _Lines(RemarkFilter):
    def __init__(self, output: Output, title: str, total: int | None) -> None:
        super().__init__(output)
        self._title = title
        self._of = "" if total is None else f" of {total:,}"
        self._done = 0
        self._began = time.monotonic()
        self._next = self._began + _EVERY

    def advance(self, number: int) -> None:
        self.reach(self._done + number)

    def reach(self, number: int) -> None:
        self._done = number
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _EVERY
            rate = number / (now - self._began)
            self._output.note(f"{self._title}: {number:,}{self._of}, {rate:,.0f}/s")


__all__ = ["ProgressMeter", "RemarkFilter", "shown_progress"]
