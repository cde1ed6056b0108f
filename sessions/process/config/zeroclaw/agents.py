"""ZeroClaw's agents and their model providers, as agents of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sessions.errors import ConfigError
from sessions.process.config.notices import ConfigNotice, NoticeKind
from sessions.process.config.zeroclaw.environment import check_readable
from sessions.process.config.zeroclaw.families import address_of
from sessions.process.config.zeroclaw.ineffective import ineffective
from sessions.process.config.zeroclaw.upstream import (
    UpstreamAgent,
    UpstreamProvider,
    UpstreamRiskProfile,
    read,
    tables,
)
from sessions.process.settings import AgentSettings

# What the session tools are called, here and there.
SESSION_TOOLS: Final = frozenset(
    {"sessions_list", "sessions_history", "sessions_send", "sessions_current"}
)
_INSTEAD: Final = (
    'add provider = "openai", base_url, model and api_key_env of an OpenAI-compatible endpoint to '
    '[agents.{alias}], or provider = "echo", or enabled = false'
)
# Our own settings of an agent, which its table may have too. Its key is the provider's.
_OWN: Final = frozenset(AgentSettings.model_fields) - {"channels", "api_key"}


def translated_agents(
    document: Mapping[str, Any], notices: list[ConfigNotice]
) -> dict[str, dict[str, Any]]:
    """The agents that are enabled. Raises ConfigError for one that cannot be served."""
    agents: dict[str, dict[str, Any]] = {}
    for alias, table in tables(document, "agents").items():
        agent = read(UpstreamAgent, table, f"agents.{alias}")
        if agent.enabled:
            agents[alias] = _agent(alias, agent, document, notices)
        else:
            notices.append(ConfigNotice(NoticeKind.OFF, f"agents.{alias}", "enabled = false"))
    if not agents:
        raise ConfigError(
            "no agent is enabled in ZeroClaw's configuration: add [agents.main] with a "
            'model_provider, or with provider = "echo" to try it without a model'
        )
    return agents


def _agent(
    alias: str, agent: UpstreamAgent, document: Mapping[str, Any], notices: list[ConfigNotice]
) -> dict[str, Any]:
    extra = agent.model_extra or {}
    own = {name: value for name, value in extra.items() if name in _OWN}
    provided = {} if "provider" in own else _provided(alias, agent, document, notices)
    notices.extend(ineffective(f"agents.{alias}", set(agent.others) - _OWN))
    limits = _limits(alias, agent, document, notices)
    return {**provided, **own, **limits, "channels": agent.channels}


def _provided(
    alias: str, agent: UpstreamAgent, document: Mapping[str, Any], notices: list[ConfigNotice]
) -> dict[str, Any]:
    """What our agent needs of its `model_provider`."""
    instead = _INSTEAD.format(alias=alias)
    if not agent.model_provider.strip():
        raise ConfigError(f"agents.{alias} has no model_provider: set it, or {instead}")
    family, _, name = agent.model_provider.strip().partition(".")
    entry = tables(document, "providers", "models", family).get(name)
    if entry is None:
        raise ConfigError(
            f"agents.{alias}: model_provider = {agent.model_provider!r} names no "
            f"[providers.models.{family}.{name or '<alias>'}]: add that, or {instead}"
        )
    where = f"providers.models.{family}.{name}"
    provider = read(UpstreamProvider, entry, where)
    base_url = address_of(provider.kind or family, provider.uri, provider.endpoint)
    if base_url is None or provider.requires_openai_auth:
        raise ConfigError(
            f"agents.{alias}: Turnstream asks OpenAI-compatible endpoints only, with a key, and "
            f"{where} is none: {instead}"
        )
    if not provider.model:
        raise ConfigError(f"{where} has no model, so that agents.{alias} cannot answer: set it")
    notices.extend(ineffective(where, provider.others))
    return {"provider": "openai", "base_url": base_url, **_request(where, provider)}


def _request(where: str, provider: UpstreamProvider) -> dict[str, Any]:
    """What is sent to the endpoint, and the key for it."""
    key = check_readable(f"{where}.api_key", provider.api_key)
    headers = {
        name: check_readable(f"{where}.extra_headers.{name}", value)
        for name, value in provider.extra_headers.items()
    }
    body = dict(provider.provider_extra)
    if provider.chat_template_kwargs:
        body["chat_template_kwargs"] = provider.chat_template_kwargs
    if provider.temperature is not None:
        body["temperature"] = provider.temperature
    return {
        "model": provider.model,
        "api_key": key or None,
        "max_tokens": provider.max_tokens,
        "extra_headers": headers,
        "extra_body": body,
    }


def _limits(
    alias: str, agent: UpstreamAgent, document: Mapping[str, Any], notices: list[ConfigNotice]
) -> dict[str, bool]:
    """What keeps the session tools from an agent that ZeroClaw does not give all of them."""
    table = tables(document, "risk_profiles").get(agent.risk_profile, {})
    profile = read(UpstreamRiskProfile, table, f"risk_profiles.{agent.risk_profile}")
    reads_only = profile.level.replace("_", "").lower() == "readonly"
    lacks = bool(profile.allowed_tools) and not set(profile.allowed_tools) >= SESSION_TOOLS
    if not (reads_only or lacks or SESSION_TOOLS & set(profile.excluded_tools)):
        return {}
    text = f"risk_profiles.{agent.risk_profile} restricts it, so that it gets no session tools"
    notices.append(ConfigNotice(NoticeKind.WARNING, f"agents.{alias}", text))
    return {"tools": False}


__all__ = ["SESSION_TOOLS", "translated_agents"]
