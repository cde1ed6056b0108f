"""ZeroClaw's channels as channels of ours. One that it would not serve is off here, too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sessions.errors import ConfigError
from sessions.process.config.notices import ConfigNotice, NoticeKind
from sessions.process.config.tables import is_table, table_of
from sessions.process.config.zeroclaw.agents import SESSION_TOOLS
from sessions.process.config.zeroclaw.environment import check_readable
from sessions.process.config.zeroclaw.ineffective import ineffective
from sessions.process.config.zeroclaw.peers import PeerGroups
from sessions.process.config.zeroclaw.upstream import (
    UpstreamChannel,
    UpstreamChannels,
    read,
    tables,
)
from sessions.process.settings import (
    MAX_DEBOUNCE,
    ChannelSettings,
    DiscordSettings,
    SlackSettings,
    TelegramSettings,
    WebhookSettings,
)

# The types that are served here; their settings have ZeroClaw's names as far as they are the same.
_SERVED: Final[Mapping[str, type[Any]]] = {
    "discord": DiscordSettings,
    "slack": SlackSettings,
    "telegram": TelegramSettings,
    "webhook": WebhookSettings,
}
# Our own settings of all channels, which its section may have too. It does not read the last.
_OWN: Final = frozenset(ChannelSettings.model_fields) - {*_SERVED, "session_ttl_hours"}
_SECRETS: Final = ("bot_token", "app_token", "secret")
_OFF: Final = {"enabled": False}


class ChannelTranslator:
    """Reads the channels of one configuration. `agents` are those that are served."""

    def __init__(
        self,
        document: Mapping[str, Any],
        environ: Mapping[str, str],
        agents: Mapping[str, Mapping[str, Any]],
        notices: list[ConfigNotice],
    ) -> None:
        """Raises ConfigError for a peer group that cannot be read."""
        self._document = document
        self._environ = environ
        self._notices = notices
        self._peers = PeerGroups(document, notices)
        self._answered = {name for agent in agents.values() for name in agent["channels"]}
        # Before its schema had versions, each channel named its people itself.
        self._has_former = "schema_version" not in document

    def translated(self) -> dict[str, Any]:
        """`[channels]` with all tables of the types that are served. Raises ConfigError."""
        own: dict[str, Any] = {}
        shared: dict[str, Any] = {}
        for name, value in table_of(self._document.get("channels")).items():
            aliases = table_of(value)
            if not is_table(value):
                shared[name] = value
            elif name in _SERVED:
                own[name] = {
                    alias: self._channel(name, alias, one) for alias, one in aliases.items()
                }
            else:
                self._name_foreign(name, aliases)
        return {**own, **self._shared(read(UpstreamChannels, shared, "channels"))}

    def _shared(self, channels: UpstreamChannels) -> dict[str, Any]:
        extra = channels.model_extra or {}
        own = {name: extra[name] for name in _OWN & extra.keys()}
        self._notices.extend(ineffective("channels", set(channels.others) - own.keys()))
        return {
            # Its sessions go on if they are imported.
            "key_style": "zeroclaw",
            **own,
            "session_persistence": channels.session_persistence,
            "session_backend": channels.session_backend,
            "debounce_ms": self._debounce("channels", channels.debounce_ms),
            # Its own floor.
            "message_timeout_secs": max(30, channels.message_timeout_secs),
        }

    def _channel(self, kind: str, alias: str, table: Any) -> dict[str, Any]:
        where = f"channels.{kind}.{alias}"
        if not is_table(table):
            raise ConfigError(
                f"setting channels.{kind}: {alias} stands in it without the name of a channel, as "
                "in older files of ZeroClaw: run `zeroclaw config migrate`"
            )
        channel = read(UpstreamChannel, table, where)
        if not channel.enabled:
            return _OFF
        own = self._own(kind, where, channel)
        reason = self._reason_against(kind, alias, channel, own)
        if reason is not None:
            self._notices.append(ConfigNotice(NoticeKind.OFF, where, f"it is not served: {reason}"))
            return _OFF
        self._tell_of_webhook(kind, alias)
        former = channel.allowed_users if self._has_former else ()
        unread = {"allowed_users"} if channel.allowed_users and not former else set[str]()
        self._notices.extend(ineffective(where, (set(channel.others) - set(own)) | unread))
        if kind != "webhook":
            own["allowed_users"] = self._peers.allowed(kind, alias, former)
        return own

    def _own(self, kind: str, where: str, channel: UpstreamChannel) -> dict[str, Any]:
        """What of the table our settings have, with the secrets that can be read."""
        given = {**(channel.model_extra or {}), "mention_only": channel.mention_only}
        own = {name: value for name, value in given.items() if name in _SERVED[kind].model_fields}
        own = {name: value for name, value in own.items() if value not in ("", [])}
        if "debounce_ms" in own:
            own["debounce_ms"] = self._debounce(where, own["debounce_ms"])
        for name in _SECRETS:
            if f"{name}_env" in own or f"{name}_file" in own:
                own.pop(name, None)
            elif name in own:
                check_readable(f"{where}.{name}", str(own[name]), f", or name one in {name}_env")
        if kind == "slack":
            own |= self._slack_variables(own)
        return {**own, "enabled": True}

    def _slack_variables(self, own: Mapping[str, Any]) -> dict[str, str]:
        """The variables that ZeroClaw takes Slack's tokens from if the file has none."""
        found: dict[str, str] = {}
        for name in ("bot_token", "app_token"):
            variables = (f"ZEROCLAW_SLACK_{name.upper()}", f"SLACK_{name.upper()}")
            variable = next((one for one in variables if self._environ.get(one)), None)
            if variable is not None and not {name, f"{name}_env", f"{name}_file"} & set(own):
                found[f"{name}_env"] = variable
        return found

    def _reason_against(
        self, kind: str, alias: str, channel: UpstreamChannel, own: Mapping[str, Any]
    ) -> str | None:
        """Why a channel that is enabled is not served; None if it is."""
        if f"{kind}.{alias}" not in self._answered:
            return f'no agent that is enabled has "{kind}.{alias}" in its channels'
        if kind == "webhook" and not {"secret", "secret_env", "secret_file"} & set(own):
            return "it has no secret, and nothing unsigned is taken"
        if channel.mention_only and "mention_only" not in own:
            return "mention_only is not known here, so that it would answer everything in groups"
        if SESSION_TOOLS & set(channel.excluded_tools):
            return "excluded_tools is not known here, and names session tools"
        return None

    def _tell_of_webhook(self, kind: str, alias: str) -> None:
        if kind == "webhook":
            text = (
                f"posts go to /channels/webhook/{alias} on the port of [gateway], and must be "
                "signed as Standard Webhooks says"
            )
            where = f"channels.webhook.{alias}"
            self._notices.append(ConfigNotice(NoticeKind.WARNING, where, text))

    def _debounce(self, where: str, milliseconds: Any) -> Any:
        if not isinstance(milliseconds, int) or milliseconds <= MAX_DEBOUNCE:
            return milliseconds
        text = f"{milliseconds} is more than {MAX_DEBOUNCE}, which is used instead"
        self._notices.append(ConfigNotice(NoticeKind.WARNING, f"{where}.debounce_ms", text))
        return MAX_DEBOUNCE

    def _name_foreign(self, kind: str, aliases: Mapping[str, Any]) -> None:
        for alias in _enabled(aliases):
            text = "it is not served: there is no such type of channel here"
            self._notices.append(ConfigNotice(NoticeKind.OFF, f"channels.{kind}.{alias}", text))


def _enabled(aliases: Mapping[str, Any]) -> Iterator[str]:
    for alias, table in aliases.items():
        if table_of(table).get("enabled") is True:
            yield alias


def channels_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """`[channels]`, under the older of its two names too."""
    return {**tables(document, "channels_config"), **tables(document, "channels")}


__all__ = ["ChannelTranslator", "channels_of"]
