"""What Discord says of a bot, for `turnstream doctor`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing

from ingest.channels.discord.factory import base_of, token_of
from ingest.channels.discord.gateway import MissingIntent
from ingest.channels.discord.rest import DiscordApi, bot_number
from ingest.channels.making import is_loopback
from sessions.process.settings import DiscordSettings


async def discord_problems(
    alias: str, own: DiscordSettings, environ: Mapping[str, str]
) -> list[str]:
    """A sentence for each thing that the bot lacks.

    Raises ConfigError, Undeliverable for a token that Discord does not take, and Retryable while
    Discord cannot be asked.
    """
    token, base = token_of(alias, own, environ), base_of(alias, own)
    bot_number(token, f"channels.discord.{alias}.bot_token")
    async with aclosing(DiscordApi.opened(token, base, direct=is_loopback(base))) as api:
        application = await api.application()
    problems: list[str] = []
    if not own.mention_only and not application.may_read_content:
        problems.append(str(MissingIntent()))
    if own.public_key and own.public_key.lower() != application.public_key:
        problems.append("public_key is not the Public Key of the bot's application")
    return problems
