"""A bound on the head of a request, while the parser works on it."""

from __future__ import annotations


class HeadTooLarge(Exception):
    """The request line and the headers have more bytes than they may."""


class RequestHead:
    """How large the head of a connection's request is, as far as it has come.

    `incomplete` is true from a request's first byte to its last, body included; `moved` says that
    the parser has handed something over.
    """

    def __init__(self, limit: int) -> None:
        self.incomplete = False
        self.moved = False
        self._limit = limit
        # Bytes of the request line, headers and trailers that the parser has handed over.
        self._size = 0
        # Bytes since the parser handed anything over: what it holds back.
        self._held = 0

    @property
    def is_too_large(self) -> bool:
        """Whether more was handed over than may be."""
        return self._size > self._limit

    def begin(self) -> None:
        """A request begins."""
        self._size, self.incomplete, self.moved = 0, True, True

    def count_bytes(self, size: int) -> None:
        """Count bytes that were handed over; raises HeadTooLarge."""
        self._size += size
        if self._size > self._limit:
            raise HeadTooLarge("the head of the request is too large")

    def holds_too_much(self, size: int) -> bool:
        """Whether the parser, after `size` more bytes, holds back more than a head may have."""
        self._held = 0 if self.moved or not self.incomplete else self._held + size
        return self._held > self._limit
