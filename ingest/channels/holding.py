"""Work that only one of several replicas may do at a time, such as holding a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

from ingest.channels.lease import ChannelLease
from sessions.errors import Retryable
from sessions.process.tasks import end_all

# Seconds between two looks whether the lease is free.
_LOOK: Final = 2.0
# Parts of a lease: between two renewals, and what it must still have. Work is not ended at once.
_RENEWAL: Final = 0.2
_MARGIN: Final = 0.3


async def while_held(lease: ChannelLease, work: Callable[[], Awaitable[None]]) -> NoReturn:
    """Do the work whenever the lease is ours, for ever; it is cancelled when the lease is lost.

    Work that ends by itself begins again. Raises what the work raises, and Retryable while Redis
    cannot be asked for the lease. The lease is given back at the end.
    """
    try:
        while True:
            if await lease.acquire():
                await _until_lost(lease, work)
            await asyncio.sleep(_LOOK)
    finally:
        await lease.release()


async def _until_lost(lease: ChannelLease, work: Callable[[], Awaitable[None]]) -> None:
    working = asyncio.ensure_future(work())
    renewing = asyncio.create_task(_renew(lease))
    try:
        await asyncio.wait([working, renewing], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        await end_all([working, renewing])


async def _renew(lease: ChannelLease) -> None:
    """Renew until the lease is another one's, or may soon be: Redis may be away for a while."""
    while lease.left > _MARGIN * lease.seconds:
        await asyncio.sleep(_RENEWAL * lease.seconds)
        try:
            if not await lease.acquire():
                return
        except Retryable:
            continue
