"""Who may see and change what. Every entry point asks this one component before it does anything.

A session belongs to its owner; one without an owner to the agent that has its channel. What a
caller may not see does not exist for it. The store decides again when it applies an event (rule 10
of the stream contract), so a check here only gives the better answer and can be raced by nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sessions.access.channel_agents import ChannelAgents
from sessions.access.tokens import Principal
from sessions.errors import AccessRefused
from sessions.ids import space_in, space_of, stored_id
from sessions.models import Event, EventType, Outcome, Position, Routing, Session
from sessions.process.settings import Settings
from sessions.reading import Scope

_CREATING: Final = frozenset({EventType.APPEND, EventType.CONTEXT})
_OPERATORS: Final = frozenset({EventType.DEAD, EventType.OWNER})


class Access:
    """The rules for one settings object."""

    def __init__(self, settings: Settings) -> None:
        self.channel_agents = ChannelAgents(settings)
        self._agents = settings.agents

    # -- sessions ----------------------------------------------------------------------------

    def scope(self, principal: Principal) -> Scope | None:
        """What lists and searches are narrowed to; None for an administrator: not at all."""
        return None if principal.agent is None else self.scope_of(principal.agent)

    def scope_of(self, agent: str) -> Scope:
        """The sessions of an agent; one that is not configured has those that it owns."""
        return self.channel_agents.scope_of(agent)

    def sees(self, principal: Principal, session: Session) -> bool:
        """Whether the session exists for this caller."""
        return principal.agent is None or self.has(principal.agent, session)

    def may_send(self, principal: Principal, session: Session) -> bool:
        """Whether the caller may send to the session: to its own, and to its `may_send_to`."""
        if principal.agent is None or self.has(principal.agent, session):
            return True
        settings = self._agents.get(principal.agent)
        return settings is not None and any(self.has(a, session) for a in settings.may_send_to)

    def agent_of(self, session: Session | Routing) -> str | None:
        """The agent that a session belongs to; None for one that is nobody's."""
        if session.agent is not None:
            return session.agent
        return (
            self.channel_agents.agent_of(session.channel) if session.channel is not None else None
        )

    def has(self, agent: str, session: Session | Routing) -> bool:
        """Whether the session is the agent's."""
        return self.agent_of(session) == agent

    def available(self, agent: str, key: str, session: Session | None) -> bool:
        """Whether a turn of the agent may run under this key: its session, or a new one of its own.

        `session` is what the store has of that key. A key under the prefix of another agent's
        channel is not available either.
        """
        if session is not None:
            return self.has(agent, session)
        return self.channel_agents.agent_of_key(key) in (None, agent)

    # -- events ------------------------------------------------------------------------------

    def claims(self, principal: Principal, session: Session) -> Mapping[str, str]:
        """The fields that an event of this caller about this session must carry (rules 10, 11).

        They name the session's agent, so that the store refuses the event if the session has become
        another agent's; a session without owner also needs its channel named. Empty for an
        administrator.
        """
        if principal.agent is None:
            return {}
        agent = self.agent_of(session)
        fields = {"by": principal.agent, "agent": agent or principal.agent}
        return {**fields, "channel": session.channel} if session.channel is not None else fields

    def published(self, principal: Principal, event: Event) -> Event:
        """The event as this caller may publish it, with `agent` and `by` filled in.

        Raises AccessRefused for what is not for an agent to publish: another agent's name, owner
        and dead letter events, the name of a channel that its agent does not have, and a new
        session under the prefix of another agent's channel. An administrator publishes anything,
        but for `by`, which no caller sets.
        """
        if event.by is not None:
            raise AccessRefused("by is filled in from the token; leave it out")
        agent = principal.agent
        if agent is None:
            return event
        if event.type in _OPERATORS:
            raise AccessRefused(f"events of type {event.type} need a token with the scope admin")
        if event.agent not in (None, agent):
            raise AccessRefused(f"agent {event.agent!r} is not this token's agent")
        if event.channel is not None and not self.channel_agents.may_name(agent, event.channel):
            raise AccessRefused(
                f"channel {event.channel!r} is not one of this agent's; leave it out, or add it to "
                f"the channels of [agents.{agent}]"
            )
        creates = event.type in _CREATING
        if creates and self.channel_agents.agent_of_key(event.session) not in (None, agent):
            raise AccessRefused(
                "session keys that begin like this belong to a channel of another agent; choose "
                "another key",
                code="reserved_key",
            )
        # What does not create a session has no effect on one that is not there, nor on another
        # agent's: both are answered alike.
        return event._replace(agent=agent, by=agent, if_exists=event.if_exists or not creates)

    # -- ids ---------------------------------------------------------------------------------

    def own_id(self, principal: Principal, event_id: str) -> str:
        """The stored id of an id in the caller's own space."""
        return stored_id(event_id, principal.agent)

    def outcome_ids(
        self, principal: Principal, event_id: str, by: str | None = None
    ) -> tuple[str, ...]:
        """The stored ids that an id stands for when the caller asks for an outcome, in order.

        An agent means its own event, else an operator's. An administrator means the one that `by`
        published. An agent that asks for another publisher's means none.
        """
        if principal.agent is None:
            return (stored_id(event_id, by),)
        if by is not None:
            return (stored_id(event_id, by),) if by == principal.agent else ()
        return (self.own_id(principal, event_id), event_id)

    def knows_position(self, principal: Principal, position: Position) -> bool:
        """Whether the caller may learn of the position's event: not if it is another agent's."""
        space = space_in(position.event_id)
        return principal.agent is None or space in ("", space_of(principal.agent))

    def knows_outcome(
        self, principal: Principal, outcome: Outcome, session: Routing | None
    ) -> bool:
        """Whether the caller may learn of an outcome; `session` is the one that it names.

        An agent learns of its own events, and of those of operators and channels in a session of
        its own, since it has it: before a delete the session may have been another's. A session
        that was deleted stays its own, so that it learns of the delete as well.
        """
        if principal.agent is None:
            return True
        space = space_in(outcome.position.event_id)
        if space:
            return space == space_of(principal.agent)
        if session is None or (outcome.generation or 0) < session.owned_from:
            return False
        return self.has(principal.agent, session)


__all__ = ["Access"]
