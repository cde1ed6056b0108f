"""What is written in one go of the loop goes out as one, in order, and nothing is kept back."""

from __future__ import annotations

import asyncio
from typing import cast

from sessions.web.edge import joined
from sessions.web.edge.joined import JoinedWrites


class Wire:
    """A transport that notes what it is given."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        """Note it."""
        assert not self.closed
        self.sent.append(data)

    def close(self) -> None:
        """Note it."""
        self.closed = True

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.closed


def on(wire: Wire) -> JoinedWrites:
    """Joined writes on that transport."""
    return JoinedWrites(cast("asyncio.Transport", wire), asyncio.get_running_loop())


async def test_what_follows_each_other_goes_out_together():
    wire = Wire()
    writes = on(wire)
    writes.write(b"head")
    writes.write(b"body")
    assert wire.sent == []
    writes.flush()
    writes.flush()
    assert wire.sent == [b"headbody"]


async def test_nobody_has_to_flush():
    wire = Wire()
    writes = on(wire)
    writes.write(b"one")
    await asyncio.sleep(0)
    writes.write(b"two")
    await asyncio.sleep(0)
    assert wire.sent == [b"one", b"two"]


async def test_what_is_large_is_not_copied_and_keeps_its_place():
    wire = Wire()
    large = b"x" * joined.LARGE
    writes = on(wire)
    for data in (b"head", large, b"tail"):
        writes.write(data)
    writes.flush()
    assert wire.sent == [b"head", large, b"tail"]
    assert wire.sent[1] is large


async def test_closing_sends_what_is_held():
    wire = Wire()
    writes = on(wire)
    writes.write(b"last")
    writes.close()
    assert wire.sent == [b"last"]
    assert writes.is_closing()
