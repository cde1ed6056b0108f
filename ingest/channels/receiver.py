"""From what a channel brought to a place in the session's lane: the same for all channels."""

from __future__ import annotations

from dataclasses import dataclass

from ingest.channels.base import Channel, ChannelMessage, name_of
from ingest.channels.commands import ChatCommand, command_of
from ingest.channels.keys import SessionKeys, room_of
from ingest.channels.presence import Presence
from ingest.turns.queue import TurnQueue
from sessions import times, wire
from sessions.access.channel_agents import ChannelAgents
from sessions.errors import InvalidRequest, RedisRefused
from sessions.process.settings import Settings
from sessions.process.tracing import carried
from sessions.stream.lanes.inbound import Inbound


@dataclass(frozen=True, slots=True)
class AcceptedMessage:
    """A message that Redis has. `id` is its turn's, and the event id of its user append."""

    id: str
    session: str
    command: ChatCommand | None


class MessageReceiver:
    """Puts the messages of channels into the lanes of their sessions."""

    def __init__(
        self,
        queue: TurnQueue,
        settings: Settings,
        channel_agents: ChannelAgents,
        keys: SessionKeys,
        presence: Presence,
    ) -> None:
        self._queue = queue
        self._settings = settings
        self._channel_agents = channel_agents
        self._keys = keys
        self._presence = presence

    async def accept(self, channel: Channel, incoming: ChannelMessage) -> AcceptedMessage:
        """Return when Redis has the message, or what it asked for was done.

        Taken again, it has no second effect. Raises InvalidEvent where no turn could hold it,
        LaneFull, StreamFull, StreamUnavailable, StoreBehind or ApiUnavailable where the session
        must be looked up and cannot be, and InvalidRequest where nobody could read the answer.
        """
        self._check_answerable(channel)
        key = await self._keys.key_of(name_of(channel), incoming)
        inbound = self._inbound(channel, incoming, key)
        wire.parse(wire.encode(inbound.opening()), max_content=self._queue.lanes.max_content)
        command = command_of(incoming.text)
        if command is ChatCommand.STOP:
            await self._stop(inbound)
        else:
            turn = await self._queue.accept(inbound, attended=False)
            self._presence.follow(channel, incoming, turn)
        return AcceptedMessage(inbound.id, inbound.session, command)

    def _check_answerable(self, channel: Channel) -> None:
        """Raise InvalidRequest for a channel whose answers are read from a store without them."""
        if not channel.delivers and not self._settings.channels.session_persistence:
            raise InvalidRequest(
                f"the answers of {name_of(channel)} are read from the store, and nothing of it is "
                "stored, as session_persistence = false in [channels] says; use a channel that "
                "delivers, or the web chat"
            )

    async def _stop(self, inbound: Inbound) -> None:
        try:
            await self._queue.lanes.request_abort(
                inbound.session, inbound.agent, once=inbound.id, former=inbound.former
            )
        except RedisRefused as error:
            self._queue.end.fail("request for an abort", error)
            raise

    def _inbound(self, channel: Channel, incoming: ChannelMessage, key: str) -> Inbound:
        name = name_of(channel)
        command = command_of(incoming.text)
        window = 0 if command else debounce_of(channel, self._settings)
        return Inbound(
            id=incoming.id,
            session=key,
            text=incoming.text,
            agent=self._channel_agents.answering(name),
            at=incoming.at,
            channel=name,
            room=room_of(incoming),
            sender=incoming.sender or None,
            reply_to=name if channel.delivers else None,
            address=incoming.address,
            due=times.now() + window * times.SECOND // 1000 if window else 0,
            command=command,
            former=incoming.former,
            traceparent=carried(),
            stored=self._settings.channels.session_persistence,
        )


def debounce_of(channel: Channel, settings: Settings) -> int:
    """Milliseconds in which several messages become one turn; 0 does not wait."""
    if channel.type == "cli":
        return 0
    return settings.channels.debounce_of(channel.type, channel.alias)
