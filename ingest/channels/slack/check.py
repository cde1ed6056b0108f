"""What Slack says of an app's tokens, for `turnstream doctor`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import Final

from ingest.channels.making import is_loopback
from ingest.channels.slack.api import SlackApi
from ingest.channels.slack.factory import base_of, secrets_of
from sessions.process.settings import SlackSettings

# The scopes of the bot token that its settings need, and what is missing without each.
_SCOPES: Final = {
    "chat:write": "the bot cannot answer",
    "im:history": "it gets no direct messages",
    "app_mentions:read": "it gets no mentions",
}
_NAMES: Final = {"users:read": "authors are shown by their ids"}


async def slack_problems(alias: str, own: SlackSettings, environ: Mapping[str, str]) -> list[str]:
    """A sentence for each scope that the bot token lacks.

    Raises ConfigError, Undeliverable for a token that Slack does not take, and Retryable while
    Slack cannot be asked.
    """
    secrets, base = secrets_of(alias, own, environ), base_of(alias, own)
    async with aclosing(SlackApi(secrets.bot_token, base, direct=is_loopback(base))) as api:
        granted = await api.scopes()
        if secrets.app_token is not None:
            # Also says whether Socket Mode is switched on. A connection is not opened.
            await api.socket_url(secrets.app_token)
    wanted = {**_SCOPES, **(_NAMES if own.session == "channel" else {})}
    return [
        f"the scope {scope} is missing, so that {result}: add it under OAuth & Permissions, and "
        "install the app again"
        for scope, result in wanted.items()
        if scope not in granted
    ]
