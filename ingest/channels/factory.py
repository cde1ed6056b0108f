"""The only place where channels are made of settings, by their type."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from ingest.channels.base import Channel, name_of
from ingest.channels.cli import terminals
from ingest.channels.discord.factory import discord_bots
from ingest.channels.failure_counts import ChannelFailures
from ingest.channels.making import ChannelDependencies
from ingest.channels.slack.factory import slack_apps
from ingest.channels.telegram.factory import telegram_bots
from ingest.channels.webhook import webhooks
from sessions.access.channel_agents import ChannelAgents
from sessions.access.tokens import TokenVerifier
from sessions.process.settings import Settings
from sessions.stream.redis import RedisClient

log = logging.getLogger(__name__)

TYPES: Final[Mapping[str, Callable[[ChannelDependencies], Iterator[Channel]]]] = {
    "cli": terminals,
    "discord": discord_bots,
    "slack": slack_apps,
    "telegram": telegram_bots,
    "webhook": webhooks,
}


@asynccontextmanager
async def opened_channels(
    settings: Settings,
    *,
    environ: Mapping[str, str],
    tokens: TokenVerifier,
    redis: RedisClient,
    url: str,
    troubles: ChannelFailures,
) -> AsyncGenerator[dict[str, Channel]]:
    """All channels of the settings by their names (`type.alias`).

    Raises ConfigError for one that cannot be used as it is configured.
    """
    async with AsyncExitStack() as stack:
        parts = ChannelDependencies(settings, environ, tokens, redis, url, troubles, stack)
        found = [channel for make in TYPES.values() for channel in make(parts)]
        channel_agents = ChannelAgents(settings)
        for channel in found:
            channel_agents.answering(name_of(channel))
        for name in channel_agents.contested():
            log.warning(
                "several agents list the channel %s; the first one in the settings has it", name
            )
        yield {name_of(channel): channel for channel in found}


__all__ = ["TYPES", "opened_channels"]
