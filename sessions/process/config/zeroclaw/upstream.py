"""What ZeroClaw's sections say, with ZeroClaw's defaults. Only what is looked at has a name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from sessions.errors import ConfigError
from sessions.process.config.tables import is_table, table_of

S = TypeVar("S", bound="UpstreamSection")


class UpstreamSection(BaseModel):
    """A table of the file. What it has beside the names here is in `model_extra`."""

    # A variable of the environment may hold what looks like a number and is a name.
    model_config = ConfigDict(frozen=True, extra="allow", coerce_numbers_to_str=True)

    @property
    def others(self) -> list[str]:
        """The names that are not looked at, and are set to something."""
        extra = self.model_extra or {}
        return sorted(name for name, value in extra.items() if value not in ("", [], {}))


class UpstreamAgent(UpstreamSection):
    """`[agents.<alias>]`."""

    enabled: bool = True
    channels: tuple[str, ...] = ()
    model_provider: str = ""
    risk_profile: str = ""


class UpstreamProvider(UpstreamSection):
    """`[providers.models.<family>.<alias>]`."""

    api_key: str = ""
    kind: str = ""
    uri: str = ""
    endpoint: str = ""
    model: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    extra_headers: dict[str, str] = {}
    provider_extra: dict[str, Any] = {}
    chat_template_kwargs: dict[str, Any] = {}
    requires_openai_auth: bool = False


class UpstreamRiskProfile(UpstreamSection):
    """`[risk_profiles.<alias>]`, as far as it says which tools an agent has."""

    level: str = "supervised"
    allowed_tools: tuple[str, ...] = ()
    excluded_tools: tuple[str, ...] = ()


class UpstreamPeerGroup(UpstreamSection):
    """`[peer_groups.<name>]`: who may write to the agents on a channel."""

    channel: str = ""
    external_peers: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


class UpstreamChannel(UpstreamSection):
    """`[channels.<type>.<alias>]`, as far as all types have it."""

    enabled: bool = False
    mention_only: bool = False
    excluded_tools: tuple[str, ...] = ()
    allowed_users: tuple[str, ...] = ()


class UpstreamTls(UpstreamSection):
    """`[gateway.tls]`."""

    enabled: bool = False


class UpstreamGateway(UpstreamSection):
    """`[gateway]`."""

    host: str = "127.0.0.1"
    port: int = 42617
    session_persistence: bool = True
    session_ttl_hours: int = 0
    websocket_ping_interval_secs: int = 30
    request_timeout_secs: int = 30
    tls: UpstreamTls = UpstreamTls()


class UpstreamChannels(UpstreamSection):
    """`[channels]` without its tables."""

    session_persistence: bool = True
    session_backend: str = "sqlite"
    debounce_ms: int = 0
    message_timeout_secs: int = 300


def read(kind: type[S], table: Any, where: str) -> S:
    """The section that a table is; raises ConfigError that names what is wrong in it."""
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join([where, *map(str, first["loc"])])
        raise ConfigError(f"setting {place}: {first['msg']}") from None


def tables(document: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The tables below a path, by their names; none if there is nothing."""
    found = dict(document)
    for name in names:
        below = found.get(name, {})
        if not is_table(below):
            raise ConfigError(f"setting {'.'.join(names)}: must be a table")
        found = table_of(below)
    return found


__all__ = [
    "UpstreamAgent",
    "UpstreamChannel",
    "UpstreamChannels",
    "UpstreamGateway",
    "UpstreamPeerGroup",
    "UpstreamProvider",
    "UpstreamRiskProfile",
    "UpstreamSection",
    "read",
    "tables",
]
