"""What an ingest process has open, made once and passed to whatever needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from ingest.agents.base import Agent
from ingest.channels.base import Channel
from ingest.channels.failure_counts import ChannelFailures
from ingest.channels.receiver import MessageReceiver
from ingest.gateway.chat import Chat, ChatPlace
from ingest.metrics import IngestMetrics
from ingest.readiness import IngestReadiness
from ingest.reads import SessionReads
from ingest.turns.queue import TurnQueue
from ingest.turns.unavailable import OwnerRefusals
from sessions.access.check import Access
from sessions.access.tokens import TokenVerifier
from sessions.process.settings import Settings
from sessions.stream.turns import TurnStream
from sessions.web.share import ShareLimiter


@dataclass(frozen=True, slots=True)
class Services:
    """The parts that the entry points use."""

    settings: Settings
    access: Access
    stream: TurnStream
    share: ShareLimiter
    tokens: TokenVerifier
    api: httpx.AsyncClient
    queue: TurnQueue
    reads: SessionReads
    chats: ChatPlace
    agents: Mapping[str, Agent]
    channels: Mapping[str, Channel]
    receiver: MessageReceiver
    refusals: OwnerRefusals
    metrics: IngestMetrics
    readiness: IngestReadiness
    troubles: ChannelFailures = field(default_factory=ChannelFailures)
    clients: set[Chat] = field(default_factory=lambda: set[Chat]())
