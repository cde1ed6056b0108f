"""Agents and channels of a test, put into a running ingest in the place of its own."""

from __future__ import annotations

from typing import cast

from ingest.agents.base import Agent
from ingest.channels.base import Channel
from ingest.services import Services


def put_agent(services: Services, name: str, agent: Agent) -> None:
    """Let this agent answer. Only tests change the mapping: what runs never does."""
    cast("dict[str, Agent]", services.agents)[name] = agent


def put_channel(services: Services, name: str, channel: Channel) -> None:
    """Let this channel take and bring messages; likewise."""
    cast("dict[str, Channel]", services.channels)[name] = channel
