"""Which agent has a channel: who answers on it, and whose its sessions and their keys are.

Decided here and nowhere else. A channel is named `type.alias`. An agent has a channel by that exact
name in its `channels`, or by the type alone; the exact name wins, then the order of the agents in
the settings. A command line (`cli.<agent>`) is its agent's without any entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from sessions.errors import ConfigError
from sessions.process.settings import Settings
from sessions.reading import Scope
from sessions.text import sanitize_key

CLI: Final = "cli"
WEBHOOK: Final = "webhook"


class ChannelAgents:
    """The channels of one settings object, and the agents that have them.

    `nameless` are those whose sessions' keys do not name them, by their kinds.
    """

    def __init__(self, settings: Settings) -> None:
        self._agents = settings.agents
        self._configured = [*_configured(settings)]
        listed = [name for agent in self._agents.values() for name in agent.channels]
        self._names = [*dict.fromkeys([*self._configured, *listed])]
        self.nameless = _nameless(settings)
        # What lies under the prefix of a kind alone is the one channel's that has such keys.
        self._prefixes = {f"{sanitize_key(name)}_": name for name in self._names}
        self._prefixes |= {f"{kind}_": name for kind, name in self.nameless.items()}

    def agent_of(self, channel: str) -> str | None:
        """The agent that has the channel; None if nobody has it."""
        kind, _, alias = channel.partition(".")
        if kind == CLI and alias in self._agents:
            return alias
        for entry in (channel, kind):
            for agent, settings in self._agents.items():
                if entry in settings.channels:
                    return agent
        if channel in self._configured and len(self._agents) == 1:
            return next(iter(self._agents))
        return None

    def answering(self, channel: str) -> str:
        """The agent that answers on the channel: `agent_of`, or the only agent that there is.

        Raises ConfigError if nobody does.
        """
        agent = self.agent_of(channel)
        if agent is None and len(self._agents) == 1:
            agent = next(iter(self._agents))
        if agent is None:
            raise ConfigError(
                f"no agent has {channel}: add it to the channels of one of [agents.*]"
            )
        return agent

    def may_name(self, agent: str, channel: str) -> bool:
        """Whether a token of the agent may publish under the name of the channel."""
        owner = self.agent_of(channel)
        return owner == agent or (owner is None and [*self._agents] == [agent])

    def agent_of_key(self, key: str) -> str | None:
        """The agent of the channel under whose prefix the session key lies; None for other keys.

        The longest prefix counts: `webhook_shop_2_carol` is of `webhook.shop_2`, not of
        `webhook.shop`.
        """
        found = [prefix for prefix in self._prefixes if key.startswith(prefix)]
        return self.agent_of(self._prefixes[max(found, key=len)]) if found else None

    def scope_of(self, agent: str) -> Scope:
        """The sessions of an agent: its own, and those of its channels that have no owner."""
        channels = [name for name in self._names if self.agent_of(name) == agent]
        others = [name for name in self._names if self.agent_of(name) != agent]
        return Scope(
            agent,
            tuple(channels),
            tuple(name for name in channels if "." not in name),
            tuple(others),
        )

    def contested(self) -> list[str]:
        """The channels that several agents list in the same way, for a warning at start."""
        listed = [name for agent in self._agents.values() for name in {*agent.channels}]
        return sorted({name for name in listed if listed.count(name) > 1})


def _nameless(settings: Settings) -> Mapping[str, str]:
    """The channels whose sessions' keys do not name them, by their kinds.

    In upstream's style these are webhooks and command lines. Two of a kind would share sessions, so
    that only one that is alone has such keys.
    """
    if settings.channels.key_style != "zeroclaw":
        return {}
    webhooks = [alias for alias, own in settings.channels.webhook.items() if own.enabled]
    kinds = {WEBHOOK: webhooks, CLI: [*settings.agents]}
    return {kind: f"{kind}.{found[0]}" for kind, found in kinds.items() if len(found) == 1}


def _configured(settings: Settings) -> Iterator[str]:
    """The names of all channels in the settings; disabled ones too, whose sessions remain."""
    for kind, aliases in settings.channels.kinds.items():
        for alias in aliases:
            yield f"{kind}.{alias}"
    for agent in settings.agents:
        yield f"{CLI}.{agent}"
