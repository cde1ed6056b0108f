"""What a configuration comes to, in a few words: the agents, the channels and the file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from sessions.process.config.loading import Configuration
from sessions.process.config.notices import NoticeKind
from sessions.process.config.recognition import FileDialect
from sessions.process.settings import AgentSettings, Settings

log = logging.getLogger(__name__)

# Set for the children of a process that has said all this already.
ANNOUNCED: Final = "TURNSTREAM_ANNOUNCED"


def agents_text(settings: Settings) -> str:
    """The agents with their providers."""
    return ", ".join(f"{alias} ({_provider(one)})" for alias, one in settings.agents.items())


def _provider(agent: AgentSettings) -> str:
    return f"{agent.provider}: {agent.model}" if agent.model else agent.provider


def channels_text(settings: Settings) -> str:
    """The channels that have settings, each with its state."""
    states = [
        f"{kind}.{alias} {'on' if channel.enabled else 'off'}"
        for kind, aliases in settings.channels.kinds.items()
        for alias, channel in aliases.items()
    ]
    return ", ".join(states) or "none"


def file_text(configuration: Configuration) -> str:
    """The settings file, and whose it is."""
    if configuration.file is None:
        return "none"
    foreign = configuration.dialect is FileDialect.ZEROCLAW
    return f"{configuration.file}{' (ZeroClaw)' if foreign else ''}"


def announce(configuration: Configuration, environ: Mapping[str, str]) -> None:
    """Log what the configuration comes to and all notices, unless the parent has done so."""
    if environ.get(ANNOUNCED):
        return
    settings = configuration.settings
    log.info(
        "settings file: %s; agents: %s; channels: %s",
        *(file_text(configuration), agents_text(settings), channels_text(settings)),
    )
    for notice in configuration.notices:
        level = logging.INFO if notice.kind is NoticeKind.NO_EFFECT else logging.WARNING
        log.log(level, "%s", notice)


__all__ = ["ANNOUNCED", "agents_text", "announce", "channels_text", "file_text"]
