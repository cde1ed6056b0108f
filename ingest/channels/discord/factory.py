"""Discord bots as the settings say."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Final

from ingest.channels.base import Channel
from ingest.channels.discord.messages import Listening
from ingest.channels.lease import ChannelLease
from ingest.channels.making import (
    ChannelDependencies,
    checked_url,
    importing_extra,
    is_loopback,
)
from sessions.errors import ConfigError
from sessions.process.secret_sources import secret_of
from sessions.process.settings import DiscordSettings

log = logging.getLogger(__name__)

# Seconds of the lease: another replica listens within 20 s, the connection included.
_LEASE: Final = 12.0
# What is said if the extra is not installed.


def discord_bots(parts: ChannelDependencies) -> Iterator[Channel]:
    """The bots that are enabled. Raises ConfigError."""
    for alias, own in parts.settings.channels.discord.items():
        if own.enabled:
            yield _bot(parts, alias, own)


def _bot(parts: ChannelDependencies, alias: str, own: DiscordSettings) -> Channel:
    with importing_extra("discord"):
        from ingest.channels.discord.channel import DiscordChannel
        from ingest.channels.discord.gateway import GatewayConnector
        from ingest.channels.discord.interactions import public_key_of
        from ingest.channels.discord.marks import Watermarks
        from ingest.channels.discord.rest import DiscordApi, bot_number
    where = f"channels.discord.{alias}"
    token, base = token_of(alias, own, parts.environ), base_of(alias, own)
    number, direct = bot_number(token, f"{where}.bot_token"), is_loopback(base)
    if not own.allowed_users:
        log.warning("%s: allowed_users is empty, so that nobody may write to the bot", where)
    api = DiscordApi.opened(token, base, direct=direct)
    connector = GatewayConnector(token, base, direct=direct, reads_content=not own.mention_only)
    for opened in (api, connector):
        parts.stack.push_async_callback(opened.aclose)
    lease = parts.redis_key(f"gateway:discord.{alias}")
    return DiscordChannel(
        alias,
        api,
        _listening(own, number),
        connector=connector,
        lease=ChannelLease(parts.redis, url=parts.url, key=lease, seconds=_LEASE),
        marks=Watermarks(parts.redis, url=parts.url, key=parts.redis_key(f"discord:{number}")),
        troubles=parts.troubles,
        public_key=public_key_of(own.public_key, f"{where}.public_key") if own.public_key else None,
    )


def token_of(alias: str, own: DiscordSettings, environ: Mapping[str, str]) -> str:
    """The bot's token; raises ConfigError without one."""
    where = f"channels.discord.{alias}"
    given = (own.bot_token, own.bot_token_env, own.bot_token_file)
    token = secret_of(f"{where}.bot_token", *given, environ)
    if token is None:
        raise ConfigError(f"{where}: set bot_token, bot_token_env or bot_token_file")
    return token


def base_of(alias: str, own: DiscordSettings) -> str:
    """Where the REST API is; raises ConfigError."""
    url = checked_url(own.api_base_url, f"channels.discord.{alias}.api_base_url")
    return (url or "").rstrip("/")


def _listening(own: DiscordSettings, bot: str) -> Listening:
    guilds = [*own.guild_ids, *([own.guild_id] if own.guild_id is not None else [])]
    return Listening(
        bot=bot,
        allowed=frozenset(str(user).removeprefix("@").lower() for user in own.allowed_users),
        guilds=frozenset(map(str, guilds)),
        channels=frozenset(map(str, own.channel_ids)),
        mention_only=own.mention_only,
        session=own.session,
    )
