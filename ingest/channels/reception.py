"""From what a channel brought to a place in the session's lane: the same for all channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ingest.channels.base import Arrival, Channel, name_of, session_key
from ingest.channels.commands import Command, command_of
from ingest.channels.presence import Presence
from ingest.desk import Desk
from ingest.inbound import Inbound
from sessions import times, wire
from sessions.errors import ConfigError
from sessions.settings import AgentSettings, Settings


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that Redis has. `id` is its turn's, and the event id of its user append."""

    id: str
    session: str
    command: Command | None


@dataclass(frozen=True, slots=True)
class Seat:
    """Who answers on a channel. `owner` is set where only the session itself can say so."""

    agent: str
    owner: str | None


class Reception:
    """Takes messages in."""

    def __init__(self, desk: Desk, settings: Settings, presence: Presence) -> None:
        self._desk = desk
        self._settings = settings
        self._presence = presence

    async def take(self, channel: Channel, arrival: Arrival) -> Taken:
        """Return when Redis has the message, or what it asked for was done.

        Taken again, it has no second effect. Raises InvalidEvent where no turn could hold it,
        LaneFull, StreamFull, StreamUnavailable.
        """
        inbound = self._inbound(channel, arrival)
        wire.parse(wire.encode(inbound.opening()), max_content=self._desk.lanes.max_content)
        command = command_of(arrival.text)
        if command is Command.STOP:
            await self._desk.lanes.request_abort(inbound.session, once=inbound.id)
        else:
            turn = await self._desk.accept(inbound, attended=False)
            self._presence.follow(channel, arrival, turn)
        return Taken(inbound.id, inbound.session, command)

    def _inbound(self, channel: Channel, arrival: Arrival) -> Inbound:
        name = name_of(channel)
        seat = seat_on(name, self._settings.agents)
        command = command_of(arrival.text)
        window = 0 if command else debounce_of(channel, self._settings)
        return Inbound(
            id=arrival.id,
            session=session_key(name, arrival),
            text=arrival.text,
            agent=seat.agent,
            at=arrival.at,
            owner=seat.owner,
            channel=name,
            room=arrival.thread or arrival.target.strip() or None,
            sender=arrival.sender or None,
            reply_to=name if channel.delivers else None,
            address=arrival.address,
            due=times.now() + window * times.SECOND // 1000 if window else 0,
            command=command,
        )


def seat_on(channel: str, agents: Mapping[str, AgentSettings]) -> Seat:
    """The agent that has the channel: by its name, by its type, or as the only agent there is.

    Raises ConfigError where none has it.
    """
    kind, _, alias = channel.partition(".")
    if kind == "cli" and alias in agents:
        return Seat(alias, alias)
    for entry in (channel, kind):
        for agent, settings in agents.items():
            if entry in settings.channels:
                return Seat(agent, None if entry == channel else agent)
    if len(agents) == 1:
        [agent] = agents
        return Seat(agent, agent)
    raise ConfigError(f"no agent has {channel}: add it to the channels of one of [agents.*]")


def debounce_of(channel: Channel, settings: Settings) -> int:
    """Milliseconds in which several messages become one turn; 0 does not wait."""
    if channel.type == "cli":
        return 0
    bots = settings.channels.telegram
    own = bots[channel.alias].debounce_ms if channel.type == "telegram" else 0
    return own or settings.channels.debounce_ms
