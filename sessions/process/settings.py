"""Settings: one frozen object, made at the edge of a process and passed down.

`sessions.process.config` makes it of a file and of the environment. In `[turnstream]` an unknown
name is an error; elsewhere it is left out here, and noticed there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from sessions.errors import ConfigError
from sessions.process.secret_sources import read_secret
from sessions.process.suggestions import did_you_mean
from sessions.process.urls import api_problem, is_web_url
from sessions.wire import DEFAULT_MAX_CONTENT

# Upstream's gateway port, so that clients which know no other find us.
DEFAULT_PORT: Final = 42617
BACKENDS: Final = ("sqlite", "jsonl")
# Milliseconds that a message may wait for the next one: a minute is a long time in a chat.
MAX_DEBOUNCE: Final = 60_000


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class AgentSettings(_Section):
    """One `[agents.<alias>]`: who answers, and what it may touch."""

    provider: Literal["echo", "openai"] = "echo"
    base_url: str | None = None
    model: str | None = None
    api_key_env: str | None = None
    # Only of ZeroClaw's files, which hold it. In our own it is refused: files are shown to people.
    api_key: SecretStr | None = None
    api_key_file: Path | None = None
    system_prompt: str | None = None
    channels: tuple[str, ...] = ()
    may_send_to: tuple[str, ...] = ()
    # Parts of a request that some endpoints refuse. False leaves one out, which saves the second
    # request that is sent when one turns out to be refused.
    tools: bool = True
    stream: bool = True
    stream_options: bool = True
    # The most tokens of an answer, under the name that the endpoint knows. Without it the endpoint
    # decides: no number fits all models.
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    # What an endpoint wants beside that, such as its own switches or a tenant's name. Secrets stand
    # in the variables that `extra_headers_env` names.
    extra_body: dict[str, Any] = {}
    extra_headers: dict[str, str] = {}
    extra_headers_env: dict[str, str] = {}

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, url: str | None) -> str | None:
        # Checked here, because an HTTP client quotes what it took for the port, in a traceback.
        if url is not None and not is_web_url(url):
            raise ValueError(
                "must begin with http:// or https://, a user and password in it percent-encoded"
            )
        return url


class TelegramSettings(_Section):
    """One `[channels.telegram.<alias>]`: a bot. Milliseconds.

    A secret stands here, in the variable of the environment that the name with `_env` names, or in
    the file that the name with `_file` names.
    """

    enabled: bool = True
    bot_token: SecretStr | None = None
    bot_token_env: str | None = None
    bot_token_file: Path | None = None
    mode: Literal["polling", "webhook"] = "polling"
    secret_token: SecretStr | None = None
    secret_token_env: str | None = None
    secret_token_file: Path | None = None
    webhook_url: str | None = None
    allowed_users: tuple[str | int, ...] = ()
    debounce_ms: int = Field(default=0, ge=0, le=MAX_DEBOUNCE)
    api_base_url: str = "https://api.telegram.org"


class SlackSettings(_Section):
    """One `[channels.slack.<alias>]`: an app in one workspace. Milliseconds. Secrets as above."""

    enabled: bool = True
    bot_token: SecretStr | None = None
    bot_token_env: str | None = None
    bot_token_file: Path | None = None
    mode: Literal["socket", "http"] = "socket"
    app_token: SecretStr | None = None
    app_token_env: str | None = None
    app_token_file: Path | None = None
    signing_secret: SecretStr | None = None
    signing_secret_env: str | None = None
    signing_secret_file: Path | None = None
    allowed_users: tuple[str, ...] = ()
    channel_ids: tuple[str, ...] = ()
    mention_only: bool = False
    thread_replies: bool = True
    session: Literal["person", "channel"] = "person"
    debounce_ms: int = Field(default=0, ge=0, le=MAX_DEBOUNCE)
    api_base_url: str = "https://slack.com/api"


class DiscordSettings(_Section):
    """One `[channels.discord.<alias>]`: a bot. Milliseconds. Secrets as above.

    Ids may be written as numbers or as texts. `guild_id` is ZeroClaw's older name for one of them.
    """

    enabled: bool = True
    bot_token: SecretStr | None = None
    bot_token_env: str | None = None
    bot_token_file: Path | None = None
    public_key: str | None = None
    allowed_users: tuple[str | int, ...] = ()
    guild_ids: tuple[str | int, ...] = ()
    guild_id: str | int | None = None
    channel_ids: tuple[str | int, ...] = ()
    mention_only: bool = False
    session: Literal["person", "channel"] = "person"
    debounce_ms: int = Field(default=0, ge=0, le=MAX_DEBOUNCE)
    api_base_url: str = "https://discord.com/api/v10"


class WebhookSettings(_Section):
    """One `[channels.webhook.<alias>]`: a program that posts signed messages. Secrets as above."""

    enabled: bool = True
    secret: SecretStr | None = None
    secret_env: str | None = None
    secret_file: Path | None = None
    previous_secret: SecretStr | None = None
    previous_secret_env: str | None = None
    previous_secret_file: Path | None = None
    send_url: str | None = None


OneChannelSettings: TypeAlias = DiscordSettings | SlackSettings | TelegramSettings | WebhookSettings


class ChannelSettings(_Section):
    """`[channels]`: the store and what all channels share. The names say the units."""

    session_backend: str = "sqlite"
    # Without it what people write in channels goes into no stream and no store.
    session_persistence: bool = True
    session_ttl_hours: int = Field(default=0, ge=0)
    # How the keys of channels' sessions are made; "zeroclaw" continues what was moved in.
    key_style: Literal["turnstream", "zeroclaw"] = "turnstream"
    debounce_ms: int = Field(default=0, ge=0, le=MAX_DEBOUNCE)
    # Seconds that an agent may take for one turn, its tools included. Upstream's default and floor.
    message_timeout_secs: int = Field(default=300, ge=30)
    # Seconds for which a reply is tried while its session waits: most outages are over by then.
    reply_park_secs: int = Field(default=120, ge=0)
    # Seconds after which a parked reply is given up: an answer a day late helps nobody.
    reply_give_up_secs: int = Field(default=86_400, ge=1)
    discord: dict[str, DiscordSettings] = Field(default_factory=dict[str, DiscordSettings])
    slack: dict[str, SlackSettings] = Field(default_factory=dict[str, SlackSettings])
    telegram: dict[str, TelegramSettings] = Field(default_factory=dict[str, TelegramSettings])
    webhook: dict[str, WebhookSettings] = Field(default_factory=dict[str, WebhookSettings])

    def debounce_of(self, type: str, alias: str) -> int:
        """Milliseconds that a channel's messages wait: its own setting, else that of all."""
        own = self.kinds.get(type, {}).get(alias)
        own_debounce = 0 if own is None or isinstance(own, WebhookSettings) else own.debounce_ms
        return own_debounce or self.debounce_ms

    @property
    def kinds(self) -> Mapping[str, Mapping[str, OneChannelSettings]]:
        """The channels of each type that has a table of its own, by their aliases."""
        return {
            "discord": self.discord,
            "slack": self.slack,
            "telegram": self.telegram,
            "webhook": self.webhook,
        }


class GatewaySettings(_Section):
    """`[gateway]`: where the web process listens. Seconds."""

    host: str = "127.0.0.1"
    port: int = Field(default=DEFAULT_PORT, ge=0, le=65535)
    # The same as in `[channels]`, for chats.
    session_persistence: bool = True
    websocket_ping_interval_secs: int = Field(default=30, ge=0)


class OwnSettings(BaseModel):
    """`[turnstream]`: what ZeroClaw has no name for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Whose names and defaults the file has; without it the file's name and place tell.
    dialect: Literal["turnstream", "zeroclaw"] | None = None
    workspace: Path = Path("~/.turnstream")
    redis_url: str | None = None
    # The file that holds it, so that a password is in no variable.
    redis_url_file: Path | None = None
    api_url: str | None = None
    prefix: str = Field(default="turnstream:", min_length=1, max_length=64)
    max_content_bytes: int = Field(default=DEFAULT_MAX_CONTENT, ge=1, le=1024 * 1024)
    # Names under which the web process is reached, beside the loopback ones.
    allowed_hosts: tuple[str, ...] = ()
    # Addresses and networks of proxies whose X-Forwarded-For is believed. Else every caller could
    # make up an address, and with it a limit of its own.
    trusted_proxies: tuple[str, ...] = ()
    # Bytes of a request line with all headers. The largest that browsers and proxies send; a token,
    # a position and cookies of a neighbour on the same name fit many times.
    max_header_bytes: int = Field(default=32 * 1024, ge=1024)
    # Seconds in which a request must be complete. The largest body comes at 280 KB/s in it.
    request_timeout_secs: int = Field(default=30, ge=1)
    # HTTP connections of one address. A browser opens 6, a client library some 100, and each ingest
    # up to 96: four of them on one machine are one address.
    max_connections_per_address: int = Field(default=384, ge=1)
    # WebSockets of one address. A household has few; a proxy that is not trusted has everybody's.
    max_websockets_per_address: int = Field(default=1000, ge=1)
    # Requests at a time with one agent's token. An agent asks one thing after the other; at some
    # 4 ms each, so many still leave another caller's request an answer within 100 ms.
    max_requests_per_token: int = Field(default=16, ge=1)
    # The same with a token of the scopes admin and serve: ingest has all its agents' requests.
    max_requests_per_service_token: int = Field(default=256, ge=1)
    # Requests a second with one agent's token, more than the process can answer to one caller
    # alone, and how many may come at once after a pause. A body costs more, 2 KiB as a request.
    requests_per_second: int = Field(default=500, ge=1)
    requests_burst: int = Field(default=1000, ge=1)
    # Chats at a time with one agent's token, some 80 KB each, and with the scopes admin and serve.
    max_chats_per_token: int = Field(default=500, ge=1)
    max_chats_per_service_token: int = Field(default=2000, ge=1)
    # Readers of one agent that may wait for the store at a time, of the 1,000 places for all.
    max_waiting_per_caller: int = Field(default=64, ge=1)
    # What one process may have published for an agent that the worker has not applied yet: entries
    # and bytes. Others wait behind it: 500 entries are one full request, some 30 ms of the worker.
    max_share_entries: int = Field(default=500, ge=1)
    max_share_bytes: int = Field(default=4 * 1024 * 1024, ge=1)
    # Where a worker answers /metrics, on `[gateway].host`; the next port to the api's. 0 does not.
    worker_metrics_port: int = Field(default=42618, ge=0, le=65535)
    # Redis' memory limit in `turnstream up`; a home machine has this much to spare.
    redis_maxmemory_mb: int = Field(default=512, ge=16)
    # Bytes and words of a search: more than anybody types, and little work even in a large store.
    search_max_bytes: int = Field(default=1024, ge=1, le=64 * 1024)
    search_max_words: int = Field(default=32, ge=1, le=1024)
    # Milliseconds of work that a search may take: as long as a read waits for the store.
    search_timeout_ms: int = Field(default=2000, ge=1, le=60_000)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"

    @field_validator("api_url")
    @classmethod
    def _is_an_address(cls, url: str | None) -> str | None:
        if url and (problem := api_problem(url)):
            raise ValueError(problem)
        return url


class Settings(_Section):
    """Everything that a process needs to know, checked once.

    docs/operating.md lists every setting with its default.
    """

    turnstream: OwnSettings = OwnSettings()
    channels: ChannelSettings = ChannelSettings()
    gateway: GatewaySettings = GatewaySettings()
    agents: dict[str, AgentSettings] = Field(default_factory=lambda: {"main": AgentSettings()})

    @property
    def workspace(self) -> Path:
        """The absolute workspace directory."""
        return self.turnstream.workspace.expanduser().absolute()

    @property
    def redis_url(self) -> str | None:
        """Where Redis is, None if `up` starts its own.

        A file is read when this is asked for, because a worker may have to make it first. Raises
        ConfigError if it cannot be read, or is empty.
        """
        own = self.turnstream
        if own.redis_url is not None or own.redis_url_file is None:
            return own.redis_url
        return read_secret("redis_url_file", own.redis_url_file)

    @property
    def stream_key(self) -> str:
        """The Redis key of the stream."""
        return f"{self.turnstream.prefix}turns"

    def replace(self, **own: Any) -> Settings:
        """A copy with other values in `[turnstream]`, `[channels]` or `[gateway]`, by name.

        Raises ConfigError for a name or a value that there is not.
        """
        return validated(merge(self.model_dump(), place(own)))


# Which setting an override of that name is; everything else is of `[turnstream]`.
_PLACE_OF: Final = {
    "channels_session_persistence": ("channels", "session_persistence"),
    "session_backend": ("channels", "session_backend"),
    "session_ttl_hours": ("channels", "session_ttl_hours"),
    "key_style": ("channels", "key_style"),
    "debounce_ms": ("channels", "debounce_ms"),
    "message_timeout_secs": ("channels", "message_timeout_secs"),
    "reply_park_secs": ("channels", "reply_park_secs"),
    "reply_give_up_secs": ("channels", "reply_give_up_secs"),
    "host": ("gateway", "host"),
    "port": ("gateway", "port"),
    "gateway_session_persistence": ("gateway", "session_persistence"),
    "websocket_ping_interval_secs": ("gateway", "websocket_ping_interval_secs"),
}


def place(values: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides by name as the document that has them in their sections."""
    placed: dict[str, Any] = {}
    for name, value in values.items():
        section, setting = _PLACE_OF.get(name, ("turnstream", name))
        placed.setdefault(section, {})[setting] = value
    return placed


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The document with other values in its sections."""
    merged = dict(base)
    for section, values in over.items():
        before = merged.get(section, {})
        # What is no section is left for the check to refuse.
        merged[section] = {**before, **values} if isinstance(before, dict) else before
    return merged


def validated(document: Mapping[str, Any]) -> Settings:
    """The settings of a document; raises ConfigError that names the first wrong one."""
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        raise ConfigError(_told(error)) from None


def _told(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"setting {where}: {first['msg']}"
    names = [*OwnSettings.model_fields, *_PLACE_OF]
    return (
        f"setting {where}: there is none of that name{did_you_mean(str(first['loc'][-1]), names)}"
    )
