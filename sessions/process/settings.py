"""Settings: one frozen object, made at the edge of a process and passed down.

The file is TOML: Turnstream's own `turnstream.toml` or ZeroClaw's `config.toml`. Of the latter
`[channels]`, `[gateway]` and `[agents.*]` are understood and the rest is ignored; `[turnstream]`
is ours alone, so that an unknown name in it is an error. `TURNSTREAM_*` variables win over both.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from sessions.errors import ConfigError
from sessions.process.urls import api_problem, is_web_url
from sessions.wire import DEFAULT_MAX_CONTENT

ENV_PREFIX: Final = "TURNSTREAM_"
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
    session_ttl_hours: int = Field(default=0, ge=0)
    debounce_ms: int = Field(default=0, ge=0, le=MAX_DEBOUNCE)
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
    websocket_ping_interval_secs: int = Field(default=30, ge=0)


class OwnSettings(BaseModel):
    """`[turnstream]`: what ZeroClaw has no name for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workspace: Path = Path("~/.turnstream")
    redis_url: str | None = None
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
        """Where Redis is, None if `up` starts its own."""
        return self.turnstream.redis_url

    @property
    def stream_key(self) -> str:
        """The Redis key of the stream."""
        return f"{self.turnstream.prefix}turns"

    def replace(self, **own: Any) -> Settings:
        """A copy with other values in `[turnstream]`, `[channels]` or `[gateway]`, by name.

        Raises ConfigError for a name or a value that there is not.
        """
        return _validated(_merge(self.model_dump(), _place(own)))


# Which section an override of that name belongs to; everything else is `[turnstream]`.
_SECTION_OF: Final = {
    "session_backend": "channels",
    "session_ttl_hours": "channels",
    "debounce_ms": "channels",
    "reply_park_secs": "channels",
    "reply_give_up_secs": "channels",
    "host": "gateway",
    "port": "gateway",
    "websocket_ping_interval_secs": "gateway",
}
# Variables of the environment beside `TURNSTREAM_<NAME>`.
_LIST_NAMES: Final = frozenset({"allowed_hosts", "trusted_proxies"})
# Variables with our prefix that are no settings: pipes between the supervisor and its children.
_NOT_SETTINGS: Final = frozenset({"progress_fd", "lifeline_fd", "config", "token"})


def settings_path(config: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The settings file that is meant: `config`, else what `TURNSTREAM_CONFIG` names, else none."""
    named = environ.get("TURNSTREAM_CONFIG")
    return config or (Path(named) if named is not None else None)


def load_settings(config: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the file (if any) and the environment; raises ConfigError that names the culprit.

    Without `config`, `TURNSTREAM_CONFIG` names the file; without both there is none.
    """
    path = settings_path(config, environ)
    document = _read(path) if path is not None else {}
    return _validated(_merge(document, _place(_from_environment(environ))))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if environ.get("REDIS_URL"):
        found["redis_url"] = environ["REDIS_URL"]
    for name, value in environ.items():
        field = name.removeprefix(ENV_PREFIX).lower()
        if name.startswith(ENV_PREFIX) and value and field not in _NOT_SETTINGS:
            found[field] = value.split(",") if field in _LIST_NAMES else value
    return found


def _place(values: Mapping[str, Any]) -> dict[str, Any]:
    placed: dict[str, Any] = {}
    for name, value in values.items():
        placed.setdefault(_SECTION_OF.get(name, "turnstream"), {})[name] = value
    return placed


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for section, values in over.items():
        merged[section] = {**merged.get(section, {}), **values}
    return merged


def _validated(document: Mapping[str, Any]) -> Settings:
    try:
        settings = Settings.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"setting {where}: {first['msg']}") from None
    return settings
