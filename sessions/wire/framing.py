"""The raw bytes of an entry as one string, as a dead letter keeps them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

# What a dead letter keeps of its entry. An unknown version keeps all of it up to the content
# bound, because it must be replayable after an upgrade.
DEAD_PAYLOAD: Final = 64 * 1024


def frame(fields: Iterable[bytes]) -> bytes:
    """The raw bytes of an entry as one string: each name and value as `length:bytes,`."""
    return b"".join(b"%d:%b," % (len(field), field) for field in fields)


def unframe(payload: bytes) -> list[bytes]:
    """The fields of a framed entry; raises ValueError where it was cut."""
    fields: list[bytes] = []
    offset = 0
    while offset < len(payload):
        colon = payload.index(b":", offset)
        end = colon + 1 + int(payload[offset:colon])
        if payload[end : end + 1] != b",":
            raise ValueError("the payload was cut")
        fields.append(payload[colon + 1 : end])
        offset = end + 1
    return fields
