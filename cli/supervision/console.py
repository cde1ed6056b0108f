"""Where the supervisor writes what its children say, and what it says itself."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import TextIO

from cli.supervision.child import Log
from sessions.process.json_lines import json_line


class LineWriter:
    """Writes lines on a text stream.

    What the stream cannot take is left out, and nothing else changes: a reader that has gone
    (`| head`), a lost terminal or a full disk is no reason to stop.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._encoding = stream.encoding or "utf-8"

    def write(self, line: str) -> None:
        """Write one line, given without newline."""
        text = line.encode(self._encoding, "backslashreplace").decode(self._encoding)
        try:
            print(text, file=self._stream, flush=True)
        except BrokenPipeError:
            # What is still in its buffer would be an error again whenever it is flushed.
            with open(os.devnull, "w") as null:
                os.dup2(null.fileno(), self._stream.fileno())
        except OSError:
            pass


class Console:
    """A log for people: `worker | text`; `quiet` leaves out what the children write."""

    def __init__(
        self, stream: TextIO, names: Iterable[str], *, title: str = "up", quiet: bool = False
    ) -> None:
        self._lines = LineWriter(stream)
        self._title = title
        self._width = max(map(len, [title, *names]))
        self._quiet = quiet

    def output(self, name: str, line: str) -> None:
        """Write a child's line behind its name."""
        if not self._quiet:
            self._write(name, line)

    def note(self, text: str) -> None:
        """Write the supervisor's own lines behind the title."""
        for line in text.splitlines():
            self._write(self._title, line)

    def _write(self, name: str, line: str) -> None:
        self._lines.write(f"{name:<{self._width}} | {line}")


class JsonConsole:
    """A log for programs: JSON objects alone. What a child writes otherwise becomes one."""

    def __init__(self, stream: TextIO, *, title: str = "up") -> None:
        self._lines = LineWriter(stream)
        self._title = title

    def output(self, name: str, line: str) -> None:
        """Write a child's line as it is if it is an object, else as the text of one."""
        self._lines.write(line if _is_object(line) else json_line(name, "info", line))

    def note(self, text: str) -> None:
        """Write what the supervisor says as one object, also if it has several lines."""
        self._lines.write(json_line(self._title, "info", text))


def console_of(form: str, stream: TextIO, names: Iterable[str], *, title: str = "up") -> Log:
    """The console of that log format, `text` or `json`."""
    if form == "json":
        return JsonConsole(stream, title=title)
    return Console(stream, names, title=title)


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
