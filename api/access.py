"""Which sessions a caller may see and touch. Every decision about that is made here.

A session belongs to its owner; one without an owner to the agent that has its channel. What a
caller may not see does not exist for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from sessions.models import Scope, Session
from sessions.settings import AgentSettings
from sessions.tokens import Principal


class Access:
    """The rules for one set of agents."""

    def __init__(self, agents: Mapping[str, AgentSettings]) -> None:
        self._agents = agents

    def scope(self, principal: Principal) -> Scope | None:
        """What lists and searches are narrowed to; None for an administrator: not at all."""
        return None if principal.agent is None else self.scope_of(principal.agent)

    def scope_of(self, agent: str) -> Scope:
        """The sessions of an agent; one that is not configured has those that it owns."""
        settings = self._agents.get(agent)
        return Scope(agent, settings.channels if settings is not None else ())

    def sees(self, principal: Principal, session: Session) -> bool:
        """Whether the session exists for this caller."""
        return principal.agent is None or self._has(principal.agent, session)

    def may_send(self, principal: Principal, session: Session) -> bool:
        """Whether the caller may send to the session: to its own, and to its `may_send_to`."""
        if principal.agent is None or self._has(principal.agent, session):
            return True
        settings = self._agents.get(principal.agent)
        return settings is not None and any(self._has(a, session) for a in settings.may_send_to)

    def agent_of(self, session: Session) -> str | None:
        """The agent that a session belongs to; None for one that is nobody's."""
        if session.agent is not None:
            return session.agent
        return next((agent for agent in self._agents if self._has(agent, session)), None)

    def _has(self, agent: str, session: Session) -> bool:
        if session.agent is not None:
            return session.agent == agent
        return session.channel is not None and session.channel in self.scope_of(agent).channels
