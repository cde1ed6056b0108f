"""Where the answer goes to what nobody wrote in a channel: a message from outside of its session.

It goes out by the session's own channel if the agent that answers there is the session's, to the
address that the last message came from. Nothing is guessed: an answer in the wrong place is worse
than one that is read in the session only.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from sessions.access.channel_agents import ChannelAgents
from sessions.errors import ConfigError
from sessions.models import Session
from sessions.process.settings import ChannelSettings, Settings, WebhookSettings
from sessions.stream.lanes.values import Origin
from sessions.text import KEY_ENDING, sanitize_key


class NoWay(StrEnum):
    """Why an answer is kept in the session and sent nowhere."""

    NO_CHANNEL = "the session has no channel"
    SILENT = "the session's channel sends nothing"
    OTHERS = "another agent answers on the session's channel"
    NO_ADDRESS = "nobody has written in the session for 90 days, so no address is known"


class AnswerWays:
    """The ways of one settings object."""

    def __init__(self, settings: Settings) -> None:
        self._channel_agents = ChannelAgents(settings)
        self._channels = settings.channels

    def way(self, agent: str, session: Session, origin: Origin | None) -> Origin | NoWay:
        """The way of an answer of that agent in its session; why there is none.

        `origin` is where the session's last message came from, None if that is not known.
        """
        channel = session.channel
        if channel is None:
            return NoWay.NO_CHANNEL
        if not _sends(self._channels, channel):
            return NoWay.SILENT
        if self._answering(channel) != agent:
            return NoWay.OTHERS
        if origin is not None and origin.channel == channel:
            return origin
        address = _address(channel, session)
        return NoWay.NO_ADDRESS if address is None else Origin(channel, address)

    def _answering(self, channel: str) -> str | None:
        try:
            return self._channel_agents.answering(channel)
        except ConfigError:
            return None


def _sends(channels: ChannelSettings, name: str) -> bool:
    """Whether a channel is configured that can send answers."""
    kind, _, alias = name.partition(".")
    own = channels.kinds.get(kind, {}).get(alias)
    if own is None or not own.enabled:
        return False
    return not isinstance(own, WebhookSettings) or own.send_url is not None


def _address(channel: str, session: Session) -> str | None:
    """The address that key and routing tell, None if they leave it open.

    The room alone tells too little: a chat and a topic of another chat may have the same number.
    The key is made of all parts that there were.
    """
    kind = channel.partition(".")[0]
    if session.room is None or session.sender is None:
        return None
    room, sender = session.room, session.sender
    # Threads of Discord are channels of their own; people may share one. Slack's leave it open.
    if kind == "discord" and _is_key_of(session.key, channel, room):
        return room
    if kind in ("discord", "telegram") and _is_key_of(session.key, channel, room, sender):
        return room
    if kind == "webhook":
        return _webhook_address(session.key, (channel, kind), room, sender)
    return None


def _webhook_address(key: str, scopes: Sequence[str], room: str, sender: str) -> str | None:
    """As above; a key of upstream's style does not name the webhook, so that one comes last."""
    for scope in scopes:
        if _is_key_of(key, scope, room, room, sender):
            return room
        if room == sender and _is_key_of(key, scope, room, sender):
            # Without a thread the sender alone says who is answered.
            return ""
    return None


def _is_key_of(key: str, *parts: str) -> bool:
    return sanitize_key("_".join(parts)) in (key, KEY_ENDING.sub("", key))
