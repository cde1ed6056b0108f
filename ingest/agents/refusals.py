"""Reads what a provider says with a refusal, before the client library would."""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus
from typing import Any, Final

# Bytes of a refusal that are read: no text of an error is as long.
MOST_READ: Final = 64 * 1024
# Seconds for them. The status is there, and the person waits.
_PATIENCE: Final = 5.0


async def read_refusal(response: Any) -> None:
    """Read the body as far as it comes, for the library's response to a 4xx or a 5xx.

    The library would read all of it, however long, and raises what is no error of its own where it
    breaks off or cannot be decoded. But what counts is the status, which has come by then.
    """
    if response.status_code < HTTPStatus.BAD_REQUEST:
        return
    found = bytearray()
    # The status alone tells what to do; what cannot be read of the body must not hide it.
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_PATIENCE):
            async for piece in response.aiter_bytes():
                found += piece
                if len(found) > MOST_READ:
                    break
    # The connection may be broken already, and is of no use any more.
    with contextlib.suppress(Exception):
        await response.aclose()
    response.encoding = "utf-8"  # some name one that decodes no text
    response._content = bytes(found[:MOST_READ])  # as its own `aread` does


__all__ = ["MOST_READ", "read_refusal"]
