"""How many entries one XREAD asks for."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Final

# Bytes that one XREAD may bring, which bounds the count only: 128 entries of 256 KiB are as much.
# A script that counted bytes cost 14 us an entry in Redis.
_READ_BYTES: Final = 32 * 1024 * 1024
_SURE_COUNT: Final = 128
# Entries in one XREAD where the whole stream has fewer bytes than that. A call costs as much as
# reading 100 small entries; of more than these the processor's cache holds too few.
_COUNT: Final = 500


class ChunkSize:
    """Judges by the entries that came how many may be asked for next.

    As many as fit, and never so many that a sudden run of the largest ones fills the memory.
    """

    def __init__(self) -> None:
        # Bytes of an entry, as the last ones had, and entries that cannot be too many.
        self._typical = 1
        self._sure_count = _SURE_COUNT

    def count(self, room: int, *, most: int) -> int:
        """The entries to ask for, at most `most` and about `room` bytes."""
        return max(1, min(self._sure_count, most, room // self._typical))

    def learn(self, sizes: Sequence[int]) -> None:
        """Take these entries as typical; there is one at least."""
        self._typical = max(1, sum(sizes) // len(sizes))

    def learn_stream(self, size: int) -> None:
        """Take the whole stream's size into account."""
        self._sure_count = _COUNT if is_small(size) else _SURE_COUNT


def is_small(size: int) -> bool:
    """Whether a stream of so many bytes may come in one XREAD."""
    return size <= _READ_BYTES


def fitting(sizes: Sequence[int], room: int) -> int:
    """How many of the first begin within `room` bytes."""
    if sum(sizes) <= room:
        return len(sizes)
    return sum(end - size < room for size, end in zip(sizes, accumulate(sizes), strict=True))
