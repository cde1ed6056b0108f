"""The only place where an agent's provider is chosen."""

from __future__ import annotations

from collections.abc import Mapping

from ingest.agents.base import Agent
from ingest.agents.echo import EchoAgent
from sessions.errors import ConfigError
from sessions.settings import AgentSettings


def make_agents(agents: Mapping[str, AgentSettings]) -> dict[str, Agent]:
    """The agents of the settings by their alias."""
    return {alias: _agent(alias, settings) for alias, settings in agents.items()}


def _agent(alias: str, settings: AgentSettings) -> Agent:
    if settings.provider == "echo":
        return EchoAgent()
    raise ConfigError(f"agents.{alias}: provider {settings.provider!r} is not served")
