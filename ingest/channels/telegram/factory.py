"""Telegram bots as the settings say."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from ingest.channels.base import Channel
from ingest.channels.lease import ChannelLease
from ingest.channels.making import ChannelDependencies, checked_url, importing_extra, is_loopback
from sessions.errors import ConfigError
from sessions.process.settings import TelegramSettings

log = logging.getLogger(__name__)


def telegram_bots(parts: ChannelDependencies) -> Iterator[Channel]:
    """The bots that are enabled. Raises ConfigError."""
    for alias, own in parts.settings.channels.telegram.items():
        if own.enabled:
            yield _bot(parts, alias, own)


def _bot(parts: ChannelDependencies, alias: str, own: TelegramSettings) -> Channel:
    with importing_extra("telegram"):
        from ingest.channels.telegram.bot import make_bot
        from ingest.channels.telegram.channel import TelegramChannel, checked_secret_token
    where = f"channels.telegram.{alias}"
    token = parts.secret(f"{where}.bot_token", own.bot_token, own.bot_token_env, own.bot_token_file)
    if token is None:
        raise ConfigError(f"{where}: set bot_token, bot_token_env or bot_token_file")
    base = checked_url(own.api_base_url, f"{where}.api_base_url") or ""
    bot, requests = make_bot(token, base, direct=is_loopback(base), where=where)
    for request in requests:
        parts.stack.push_async_callback(request.shutdown)
    shown = parts.secret(
        f"{where}.secret_token", own.secret_token, own.secret_token_env, own.secret_token_file
    )
    if own.mode == "webhook":
        shown = checked_secret_token(shown, where)
    if not own.allowed_users:
        log.warning("%s: allowed_users is empty, so that nobody may write to the bot", where)
    return TelegramChannel(
        alias,
        bot,
        mode=own.mode,
        allowed=frozenset(str(user).removeprefix("@").lower() for user in own.allowed_users),
        secret_token=shown,
        webhook_url=checked_url(own.webhook_url, f"{where}.webhook_url"),
        troubles=parts.troubles,
        lease=ChannelLease(
            parts.redis, url=parts.url, key=parts.redis_key(f"poller:telegram.{alias}")
        ),
        any_thread=parts.settings.channels.key_style == "zeroclaw",
    )
