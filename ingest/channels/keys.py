"""Session keys: upstream's, with an ending of their own where those do not tell people apart.

Upstream joins the parts by `_` after it has made `_` of what is no letter, digit, `_` or `-`. If a
part holds anything but letters, digits and `-`, two people could share a key; such a key ends with
`-` and 16 hex digits of the sha256 of the exact parts. A session that was there before keeps the
key that it has.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from typing import Final

from ingest.channels.base import ChannelMessage
from ingest.reads import SessionReads
from sessions.text import KEY_DIGITS, KEY_ENDING, sanitize_key

# Answers that are remembered. Most people write more than once.
_REMEMBERED: Final = 10_000
# Seconds for which a session is taken to have no former key. One can come to be only while
# processes of an older version still run.
_NONE_FOR: Final = 3600.0


def former_key(channel: str, incoming: ChannelMessage) -> str:
    """The session of a message, as upstream's `conversation_history_key` makes it."""
    return sanitize_key("_".join([channel, *_parts(channel, incoming)]))


def session_key(channel: str, incoming: ChannelMessage) -> str:
    """The session of a message that is nobody else's: the former key, or that with an ending."""
    former = former_key(channel, incoming)
    return (
        former if _is_clear(channel, incoming, former) else f"{former}-{_digest(channel, incoming)}"
    )


class SessionKeys:
    """Finds the keys of sessions, former ones included. Safe for concurrent use in one loop."""

    def __init__(self, reads: SessionReads) -> None:
        self._reads = reads
        self._kept: dict[str, float | None] = {}

    async def key_of(self, channel: str, incoming: ChannelMessage) -> str:
        """The key of the message's session.

        Raises Retryable if it must be looked up and the store cannot be asked now.
        """
        key, former = session_key(channel, incoming), former_key(channel, incoming)
        if key == former:
            return key
        return former if await self._is_kept(key, former, channel, incoming) else key

    async def _is_kept(self, key: str, former: str, channel: str, incoming: ChannelMessage) -> bool:
        now = asyncio.get_running_loop().time()
        if key in self._kept:
            until = self._kept[key]
            if until is None or now < until:
                return until is None
        keeps = await self._reads.keeps_key(
            former,
            channel=channel,
            room=room_of(incoming),
            sender=incoming.sender or None,
            by_room=incoming.by_room,
        )
        while len(self._kept) >= _REMEMBERED:
            self._kept.pop(next(iter(self._kept)))
        self._kept[key] = None if keeps else now + _NONE_FOR
        return keeps


def room_of(incoming: ChannelMessage) -> str | None:
    """The room that the store has of the message's session."""
    return incoming.thread or incoming.target.strip() or None


def _parts(channel: str, incoming: ChannelMessage) -> list[str]:
    if incoming.by_room:
        return [incoming.target]
    if incoming.thread and not channel.startswith("matrix."):
        return [incoming.target, incoming.thread, incoming.sender]
    return [incoming.target, incoming.sender]


def _is_clear(channel: str, incoming: ChannelMessage, key: str) -> bool:
    target, *others = _parts(channel, incoming)
    alias = channel.partition(".")[2]
    parts: Sequence[str] = [alias, *(incoming.places or [target]), *others]
    return not KEY_ENDING.search(key) and all(sanitize_key(p) == p and "_" not in p for p in parts)


def _digest(channel: str, incoming: ChannelMessage) -> str:
    kind, _, alias = channel.partition(".")
    exact = json.dumps([kind, alias, *_parts(channel, incoming)], separators=(",", ":"))
    return hashlib.sha256(exact.encode()).hexdigest()[:KEY_DIGITS]


__all__ = ["SessionKeys", "former_key", "room_of", "session_key"]
