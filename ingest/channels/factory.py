"""The only place where channels are made of settings, by their type."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from ingest.channels.base import Channel, name_of
from ingest.channels.cli import CliChannel
from ingest.channels.failure_counts import ChannelFailures
from ingest.channels.lease import PollingLease
from ingest.channels.webhook import SEND_TIMEOUT, WebhookChannel, key_of
from sessions.access.channel_agents import ChannelAgents
from sessions.access.tokens import TokenVerifier
from sessions.errors import ConfigError
from sessions.process.settings import Settings, TelegramSettings
from sessions.process.urls import is_web_url
from sessions.stream.redis import RedisClient

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChannelDependencies:
    """What channels are made of. `stack` closes what they open."""

    settings: Settings
    environ: Mapping[str, str]
    tokens: TokenVerifier
    redis: RedisClient
    url: str
    troubles: ChannelFailures
    stack: AsyncExitStack


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
        found = [channel for make in _TYPES.values() for channel in make(parts)]
        channel_agents = ChannelAgents(settings)
        for channel in found:
            channel_agents.answering(name_of(channel))
        for name in channel_agents.contested():
            log.warning(
                "several agents list the channel %s; the first one in the settings has it", name
            )
        yield {name_of(channel): channel for channel in found}


def secret_of(
    where: str, given: SecretStr | None, variable: str | None, environ: Mapping[str, str]
) -> str | None:
    """A secret of the settings or of the variable that they name; None where neither is set.

    Raises ConfigError for both, and for a variable that is not set.
    """
    if given is not None and variable is not None:
        raise ConfigError(f"{where} and {where}_env: set one of them")
    if variable is None:
        return given.get_secret_value() if given is not None else None
    value = environ.get(variable)
    if not value:
        raise ConfigError(f"{where}_env: the variable {variable} is not set")
    return value


def _webhooks(parts: ChannelDependencies) -> Iterator[Channel]:
    for alias, own in parts.settings.channels.webhook.items():
        if not own.enabled:
            continue
        where = f"channels.webhook.{alias}"
        given = {
            f"{where}.secret": (own.secret, own.secret_env),
            f"{where}.previous_secret": (own.previous_secret, own.previous_secret_env),
        }
        keys = [
            key_of(secret, name)
            for name, (value, variable) in given.items()
            if (secret := secret_of(name, value, variable, parts.environ)) is not None
        ]
        if own.secret is None and own.secret_env is None:
            raise ConfigError(f"{where}: set secret or secret_env; nothing unsigned is taken")
        url = checked_url(own.send_url, f"{where}.send_url")
        client = httpx.AsyncClient(
            timeout=SEND_TIMEOUT, follow_redirects=False, trust_env=not is_loopback(url or "")
        )
        parts.stack.push_async_callback(client.aclose)
        yield WebhookChannel(alias, keys, send_url=url, client=client)


def _terminals(parts: ChannelDependencies) -> Iterator[Channel]:
    for agent in parts.settings.agents:
        yield CliChannel(agent, parts.tokens)


def _telegram(parts: ChannelDependencies) -> Iterator[Channel]:
    for alias, own in parts.settings.channels.telegram.items():
        if own.enabled:
            yield _bot(parts, alias, own)


def _bot(parts: ChannelDependencies, alias: str, own: TelegramSettings) -> Channel:
    # Imported where it is configured only: it takes a third of a second, and is an extra.
    try:
        from ingest.channels.telegram import TelegramChannel, checked_secret_token
        from ingest.channels.telegram_bot import make_bot
    except ImportError as error:
        raise ConfigError(
            "[channels.telegram] needs: pip install 'turnstream[telegram]'"
        ) from error
    where, environ = f"channels.telegram.{alias}", parts.environ
    token = secret_of(f"{where}.bot_token", own.bot_token, own.bot_token_env, environ)
    if token is None:
        raise ConfigError(f"{where}: set bot_token or bot_token_env")
    base = checked_url(own.api_base_url, f"{where}.api_base_url") or ""
    bot, requests = make_bot(token, base, direct=is_loopback(base), where=where)
    for request in requests:
        parts.stack.push_async_callback(request.shutdown)
    shown = secret_of(f"{where}.secret_token", own.secret_token, own.secret_token_env, environ)
    if own.mode == "webhook":
        shown = checked_secret_token(shown, where)
    if not own.allowed_users:
        log.warning("%s: allowed_users is empty, so that nobody may write to the bot", where)
    prefix = parts.settings.turnstream.prefix
    return TelegramChannel(
        alias,
        bot,
        mode=own.mode,
        allowed=frozenset(str(user).removeprefix("@").lower() for user in own.allowed_users),
        secret_token=shown,
        webhook_url=checked_url(own.webhook_url, f"{where}.webhook_url"),
        troubles=parts.troubles,
        lease=PollingLease(parts.redis, url=parts.url, key=f"{prefix}poller:telegram.{alias}"),
    )


def is_loopback(url: str) -> bool:
    """Whether the URL means this machine, which no proxy has to do with."""
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


def checked_url(url: str | None, where: str) -> str | None:
    """The URL, if it is one of http or https; raises ConfigError, which does not quote it."""
    if url is None or is_web_url(url):
        return url
    raise ConfigError(
        f"{where} must be a URL that begins with http:// or https://; "
        "a user and password in it must be percent-encoded"
    )


_TYPES: Final[Mapping[str, Callable[[ChannelDependencies], Iterator[Channel]]]] = {
    "cli": _terminals,
    "telegram": _telegram,
    "webhook": _webhooks,
}

__all__ = ["checked_url", "opened_channels", "secret_of"]
