"""Whether the channels of the settings can work, asked of their platforms, for `doctor`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from ingest.channels.base import Undeliverable
from ingest.channels.making import importing_extra
from sessions.errors import ConfigError, Retryable
from sessions.process.settings import DiscordSettings, Settings, SlackSettings

# Asks a platform, and gives a sentence for each thing that is missing.
_Ask = Callable[[], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class ChannelCheck:
    """What was found of one channel. `works` is None if its platform cannot be asked now."""

    channel: str
    works: bool | None
    problems: tuple[str, ...]


async def check_channels(
    settings: Settings, environ: Mapping[str, str]
) -> AsyncGenerator[ChannelCheck]:
    """Each channel that is enabled and whose platform can be asked, in the order of the types."""
    for find in _TYPES:
        for channel, ask in find(settings, environ):
            yield await _checked(channel, ask)


async def _checked(channel: str, ask: _Ask) -> ChannelCheck:
    try:
        return ChannelCheck(channel, True, tuple(await ask()))
    except (ConfigError, Undeliverable) as error:
        return ChannelCheck(channel, False, (str(error),))
    except Retryable as error:
        return ChannelCheck(channel, None, (str(error),))


def _discord(settings: Settings, environ: Mapping[str, str]) -> Iterator[tuple[str, _Ask]]:
    for alias, own in settings.channels.discord.items():
        if own.enabled:
            yield f"discord.{alias}", partial(_ask_discord, alias, own, environ)


async def _ask_discord(alias: str, own: DiscordSettings, environ: Mapping[str, str]) -> list[str]:
    with importing_extra("discord"):
        from ingest.channels.discord.check import discord_problems
    return await discord_problems(alias, own, environ)


def _slack(settings: Settings, environ: Mapping[str, str]) -> Iterator[tuple[str, _Ask]]:
    for alias, own in settings.channels.slack.items():
        if own.enabled:
            yield f"slack.{alias}", partial(_ask_slack, alias, own, environ)


async def _ask_slack(alias: str, own: SlackSettings, environ: Mapping[str, str]) -> list[str]:
    with importing_extra("slack"):
        from ingest.channels.slack.check import slack_problems
    return await slack_problems(alias, own, environ)


_TYPES: Final = (_discord, _slack)
