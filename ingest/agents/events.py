"""The events of a provider's answer: server-sent events, lines of JSON, or one whole JSON text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

# Bytes that may wait for the end of their line or of their JSON text: far more than any chunk has.
MOST_WAITING: Final = 4 * 1024 * 1024
# Lines of one value: it is read again with each of them that may be its last.
_MOST_LINES: Final = 1000
_DONE: Final = "[DONE]"
_ENDS: Final = ("}", "]")


class AnswerTooLarge(Exception):
    """More arrived without an end than any answer needs."""


class JsonEventParser:
    """Bytes in, JSON values out, as soon as each is whole. What is no JSON is left out.

    `done` is true once the provider said that nothing follows.
    """

    def __init__(self) -> None:
        self.done = False
        self._line = bytearray()
        self._after_return = False
        self._data: list[str] = []
        self._other: list[str] = []
        self._waiting = 0
        self._is_error = False

    def feed(self, data: bytes) -> Iterator[Any]:
        """The values that end within these bytes. Raises AnswerTooLarge."""
        if self._after_return:
            data = data.removeprefix(b"\n")
        self._after_return = data.endswith(b"\r")
        self._line += data
        if self._waiting + len(self._line) > MOST_WAITING:
            raise AnswerTooLarge
        if b"\n" not in data and b"\r" not in data:
            return
        *lines, rest = self._line.splitlines(keepends=True)
        if rest.endswith((b"\n", b"\r")):
            lines, rest = [*lines, rest], bytearray()
        self._line = rest
        for line in lines:
            yield from self._take(line.decode("utf-8", "replace").rstrip("\r\n"))

    def close(self) -> Iterator[Any]:
        """The values that only the end of the bytes ends."""
        yield from self._take(self._line.decode("utf-8", "replace"))
        yield from self._take("")
        self._line.clear()
        whole = [*_parsed("\n".join(self._other))]
        yield from whole
        if not whole:
            # One value a line, behind a line that was none.
            for line in self._other:
                yield from _parsed(line)

    def _take(self, line: str) -> Iterator[Any]:
        name, _, value = line.lstrip("\ufeff").partition(":")
        if self.done or (line and not name):
            return  # a comment keeps the connection alive, and means nothing
        if not line:
            self._forget()
        elif name == "event":
            self._is_error = value.strip() == "error"
        elif name == "data":
            yield from self._datum(value.removeprefix(" "))
        elif name not in ("id", "retry"):
            yield from self._stray(line)

    def _datum(self, text: str) -> Iterator[Any]:
        """A value may be spread over lines, and some servers put no blank line between values."""
        if text.lstrip().startswith(_DONE):
            self.done = True
            return
        self._data.append(text)
        self._waiting += len(text) + 1
        if len(self._data) > _MOST_LINES:
            raise AnswerTooLarge
        if not text.rstrip().endswith(_ENDS):
            return
        for value in _parsed("\n".join(self._data)):
            yield {"error": value} if self._is_error and not _has_error(value) else value
            self._forget()

    def _forget(self) -> None:
        self._waiting -= sum(len(text) + 1 for text in self._data)
        self._data.clear()
        self._is_error = False

    def _stray(self, line: str) -> Iterator[Any]:
        """A line of a body that is no event stream: one value a line, or one value in all."""
        if not line.strip():
            return  # keeps a connection alive, and no value needs it
        whole = [*_parsed(line)] if not self._other else []
        yield from whole
        if not whole:
            self._other.append(line)
            self._waiting += len(line) + 1


def _parsed(text: str) -> Iterator[Any]:
    """The value of a JSON text; nothing where it is none, or not whole yet."""
    if not text.rstrip().endswith(_ENDS):
        return
    try:
        # The standard library's parser leaves halves of a character as they are; the other half
        # may be in the next chunk.
        yield json.loads(text)
    except (ValueError, RecursionError):
        return


def _has_error(value: Any) -> bool:
    return isinstance(value, dict) and "error" in value
