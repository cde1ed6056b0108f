"""Slack apps as the settings say."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ingest.channels.base import Channel
from ingest.channels.lease import ChannelLease
from ingest.channels.making import (
    ChannelDependencies,
    checked_url,
    importing_extra,
    is_loopback,
)
from sessions.errors import ConfigError
from sessions.process.secret_sources import secret_of
from sessions.process.settings import SlackSettings

log = logging.getLogger(__name__)

# A member ID as Slack shows it in a profile, and everybody.
_MEMBER: Final = re.compile(r"[UW][A-Z0-9]+|\*")
# What is said if the extra is not installed.


@dataclass(frozen=True, slots=True)
class SlackSecrets:
    """What an app needs: the app-level token for Socket Mode, the signing secret for HTTP."""

    bot_token: str
    app_token: str | None
    signing_secret: str | None


def slack_apps(parts: ChannelDependencies) -> Iterator[Channel]:
    """The apps that are enabled. Raises ConfigError."""
    for alias, own in parts.settings.channels.slack.items():
        if own.enabled:
            yield _app(parts, alias, own)


def _app(parts: ChannelDependencies, alias: str, own: SlackSettings) -> Channel:
    with importing_extra("slack"):
        from ingest.channels.slack.api import SlackApi
        from ingest.channels.slack.channel import SlackChannel, SlackRules
        from ingest.channels.slack.socket import SocketMode
    secrets, base = secrets_of(alias, own, parts.environ), base_of(alias, own)
    rules = SlackRules(
        allowed=_allowed(alias, own),
        channels=frozenset(own.channel_ids),
        mention_only=own.mention_only,
        thread_replies=own.thread_replies,
        by_channel=own.session == "channel",
    )
    api = SlackApi(secrets.bot_token, base, direct=is_loopback(base))
    parts.stack.push_async_callback(api.aclose)
    key = parts.redis_key(f"socket:slack.{alias}")
    lease = ChannelLease(parts.redis, url=parts.url, key=key)
    socket = None
    if secrets.app_token is not None:
        socket = SocketMode(api, secrets.app_token, lease)
    return SlackChannel(
        alias,
        api,
        rules,
        signing_secret=secrets.signing_secret,
        socket=socket,
        troubles=parts.troubles,
    )


def secrets_of(alias: str, own: SlackSettings, environ: Mapping[str, str]) -> SlackSecrets:
    """The secrets that the app's mode needs. Raises ConfigError for one that is not there."""
    where = f"channels.slack.{alias}"
    bot_token = secret_of(
        f"{where}.bot_token", own.bot_token, own.bot_token_env, own.bot_token_file, environ
    )
    app_token = secret_of(
        f"{where}.app_token", own.app_token, own.app_token_env, own.app_token_file, environ
    )
    signing_secret = secret_of(
        f"{where}.signing_secret",
        own.signing_secret,
        own.signing_secret_env,
        own.signing_secret_file,
        environ,
    )
    token = _checked(where, "bot_token", bot_token, "xoxb-")
    if own.mode == "socket":
        return SlackSecrets(token, _checked(where, "app_token", app_token, "xapp-"), None)
    return SlackSecrets(token, None, _checked(where, "signing_secret", signing_secret, ""))


def base_of(alias: str, own: SlackSettings) -> str:
    """Where the Web API is. Raises ConfigError."""
    return checked_url(own.api_base_url, f"channels.slack.{alias}.api_base_url") or ""


def _checked(where: str, name: str, secret: str | None, beginning: str) -> str:
    """The secret, if it is there and is not another one of Slack's."""
    if secret is None:
        other = ', or mode = "http"' if name == "app_token" else ""
        raise ConfigError(f"{where}: set {name}, {name}_env or {name}_file{other}")
    if not secret.startswith(beginning):
        raise ConfigError(f"{where}.{name} must begin with {beginning}, as Slack shows it")
    return secret


def _allowed(alias: str, own: SlackSettings) -> frozenset[str]:
    where = f"channels.slack.{alias}"
    strange = [user for user in own.allowed_users if not _MEMBER.fullmatch(user)]
    if strange:
        raise ConfigError(
            f"{where}.allowed_users: {strange[0]!r} is no member ID, such as U012AB3CD; Slack "
            'shows it in the person\'s profile, under "Copy member ID"'
        )
    if not own.allowed_users:
        log.warning("%s: allowed_users is empty, so that nobody may write to the bot", where)
    return frozenset(own.allowed_users)
