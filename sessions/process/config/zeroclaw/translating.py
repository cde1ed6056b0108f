"""A whole configuration of ZeroClaw's as a document of ours, and what is to be told of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sessions.errors import ConfigError
from sessions.process.config.notices import ConfigNotice, NoticeKind
from sessions.process.config.zeroclaw.agents import translated_agents
from sessions.process.config.zeroclaw.channels import ChannelTranslator, channels_of
from sessions.process.config.zeroclaw.environment import with_variables
from sessions.process.config.zeroclaw.ineffective import ineffective
from sessions.process.config.zeroclaw.upstream import UpstreamGateway, read, tables

# The version of its schema that is read.
SCHEMA: Final = 3
# What only older versions have.
_OLDER: Final = frozenset(
    {"default_provider", "default_model_provider", "default_model", "model_providers", "autonomy"}
)
# The sections that something is read of; `_other_profiles` names what is in the last of them.
_READ: Final = frozenset(
    {
        *("agents", "channels", "channels_config", "gateway", "peer_groups", "providers"),
        *("risk_profiles", "runtime_profiles", "schema_version", "turnstream"),
    }
)
# Kinds of providers that nothing is asked of here.
_OTHER_PROVIDERS: Final = ("tts", "transcription")


def translate(
    document: Mapping[str, Any], environ: Mapping[str, str]
) -> tuple[dict[str, Any], list[ConfigNotice]]:
    """The document of ours, and the notices. Raises ConfigError for what cannot be served."""
    _check_schema(document)
    document = with_variables(document, environ)
    document["channels"] = channels_of(document)
    notices: list[ConfigNotice] = []
    agents = translated_agents(document, notices)
    channels = ChannelTranslator(document, environ, agents, notices).translated()
    gateway = read(UpstreamGateway, tables(document, "gateway"), "gateway")
    notices.extend(ineffective("gateway", gateway.others))
    notices.extend(_unread(document))
    own = {"request_timeout_secs": gateway.request_timeout_secs, **tables(document, "turnstream")}
    # There the retention of all sessions is a setting of the gateway.
    channels["session_ttl_hours"] = gateway.session_ttl_hours
    translated = {
        "turnstream": own,
        "channels": channels,
        "gateway": _gateway(gateway),
        "agents": agents,
    }
    return translated, notices


def _check_schema(document: Mapping[str, Any]) -> None:
    version: Any = document.get("schema_version", SCHEMA)
    if isinstance(version, int) and version > SCHEMA:
        raise ConfigError(
            f"schema_version = {version} of ZeroClaw's configuration is newer than {SCHEMA}, which "
            "is known here: use a newer Turnstream"
        )
    older = version != SCHEMA or ("schema_version" not in document and _OLDER & document.keys())
    if older:
        raise ConfigError(
            "the configuration is of an older version of ZeroClaw, which is not read here: run "
            "`zeroclaw config migrate`, and use what it writes"
        )


def _gateway(gateway: UpstreamGateway) -> dict[str, Any]:
    if gateway.tls.enabled:
        raise ConfigError(
            "gateway.tls is enabled, and nothing is encrypted here: put a proxy with TLS in front, "
            "and set [gateway.tls] enabled = false"
        )
    return {
        # An IPv6 address stands in brackets there.
        "host": gateway.host.strip("[]"),
        "port": gateway.port,
        "session_persistence": gateway.session_persistence,
        "websocket_ping_interval_secs": gateway.websocket_ping_interval_secs,
    }


def _unread(document: Mapping[str, Any]) -> list[ConfigNotice]:
    """The sections that nothing is read of, in one notice, and the profiles' settings."""
    names = [f"[{name}]" for name in sorted(document.keys() - _READ) if document[name] != {}]
    providers = tables(document, "providers")
    names += [f"[providers.{kind}]" for kind in _OTHER_PROVIDERS if providers.get(kind)]
    notices: list[ConfigNotice] = []
    if names:
        text = f"these sections have no effect here: {', '.join(names)}"
        notices.append(ConfigNotice(NoticeKind.NO_EFFECT, "the settings file", text))
    for alias, profile in tables(document, "runtime_profiles").items():
        notices.extend(ineffective(f"runtime_profiles.{alias}", profile))
    return notices


__all__ = ["translate"]
