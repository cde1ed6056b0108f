"""Session keys: upstream's, with an ending of their own where those do not tell people apart.

Upstream joins the parts by `_` after it has made `_` of what is no letter, digit, `_` or `-`. If a
part holds anything but letters, digits and `-`, two people could share a key; such a key ends with
`-` and 16 hex digits of the sha256 of the exact parts. A session that was there before keeps the
key that it has.

In the style "zeroclaw" the keys are upstream's also where ours differ: without the alias of a
channel that is the only one of its kind (`ChannelAgents.nameless`). A session that upstream made
of exactly these parts is continued there.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from ingest.channels.base import ChannelMessage
from ingest.reads import SessionReads
from sessions.access.channel_agents import CLI, WEBHOOK
from sessions.text import KEY_DIGITS, KEY_ENDING, sanitize_key

DISCORD: Final = "discord"
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


class FormerKey(NamedTuple):
    """A key that a session of the message may have, if the store has its channel as one of these.

    Upstream stores no channel for sessions whose keys name none.
    """

    key: str
    channels: Sequence[str | None]


class KeyPlan(NamedTuple):
    """The key of a message's session, unless a session is there under one of the former keys."""

    key: str
    former: Sequence[FormerKey]


class KeyStyle:
    """How keys are made for one settings object."""

    def __init__(self, style: str, nameless: Mapping[str, str]) -> None:
        self._is_upstreams = style == "zeroclaw"
        self._nameless = frozenset(nameless.values())

    def plan(self, channel: str, incoming: ChannelMessage) -> KeyPlan:
        """The key of the message's session, and the former ones."""
        own, former = session_key(channel, incoming), former_key(channel, incoming)
        found = [] if own == former else [FormerKey(former, [channel])]
        if not self._is_upstreams:
            return KeyPlan(own, found)
        kind = channel.partition(".")[0]
        if channel in self._nameless:
            bare = former_key(kind, incoming)
            key = session_key(kind, incoming)
            known = [] if key == bare else [FormerKey(bare, [None, channel])]
            return KeyPlan(key, known)
        if kind in (CLI, WEBHOOK):
            # Several of a kind: only what this one has written to before is surely its own.
            return KeyPlan(own, [*found, FormerKey(former_key(kind, incoming), [channel])])
        if kind == DISCORD and not incoming.by_room:
            # For upstream the thread that a message stands in is its room and its thread.
            threaded = former_key(channel, replace(incoming, thread=incoming.target))
            return KeyPlan(own, [*found, FormerKey(threaded, [channel])])
        return KeyPlan(own, found)


class SessionKeys:
    """Finds the keys of sessions, former ones included. Safe for concurrent use in one loop."""

    def __init__(self, reads: SessionReads, style: KeyStyle) -> None:
        self._reads = reads
        self._style = style
        self._kept: dict[str, tuple[str, float]] = {}

    async def key_of(self, channel: str, incoming: ChannelMessage) -> str:
        """The key of the message's session.

        Raises Retryable if it must be looked up and the store cannot be asked now.
        """
        plan = self._style.plan(channel, incoming)
        if not plan.former:
            return plan.key
        now = asyncio.get_running_loop().time()
        found, until = self._kept.get(plan.key, ("", now))
        if now < until:
            return found
        found = await self._look_up(plan, channel, incoming)
        while len(self._kept) >= _REMEMBERED:
            self._kept.pop(next(iter(self._kept)))
        self._kept[plan.key] = (found, math.inf if found != plan.key else now + _NONE_FOR)
        return found

    async def _look_up(self, plan: KeyPlan, channel: str, incoming: ChannelMessage) -> str:
        for former in plan.former:
            for stored in former.channels:
                if await self._is_kept(former.key, stored, incoming):
                    return former.key
        return plan.key

    async def _is_kept(self, key: str, channel: str | None, incoming: ChannelMessage) -> bool:
        return await self._reads.keeps_key(
            key,
            channel=channel,
            room=room_of(incoming),
            sender=incoming.sender or None,
            by_room=incoming.by_room,
        )


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


__all__ = [
    "FormerKey",
    "KeyPlan",
    "KeyStyle",
    "SessionKeys",
    "former_key",
    "room_of",
    "session_key",
]
