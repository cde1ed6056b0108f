"""The only place where an agent's provider is chosen."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from ingest.agents.base import Agent
from ingest.agents.echo import EchoAgent
from ingest.agents.tools import SessionTools
from sessions.errors import ConfigError
from sessions.process.secret_sources import secret_in_environment, secret_of
from sessions.process.settings import AgentSettings
from sessions.wire import DEFAULT_MAX_CONTENT

# What HTTP takes as the name of a header.
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@asynccontextmanager
async def opened_agents(
    agents: Mapping[str, AgentSettings],
    *,
    tools: Callable[[str], SessionTools],
    environ: Mapping[str, str],
    most: int = DEFAULT_MAX_CONTENT,
) -> AsyncGenerator[dict[str, Agent]]:
    """The agents of the settings by their alias; `tools` gives each its session tools.

    `most` are the bytes that one stored message may have. Raises ConfigError for an agent that
    cannot be used as it is configured.
    """
    async with AsyncExitStack() as stack:
        found: dict[str, Agent] = {}
        for alias, settings in agents.items():
            if settings.provider == "echo":
                found[alias] = EchoAgent()
            else:
                found[alias] = await _openai(stack, alias, settings, tools(alias), environ, most)
        yield found


async def _openai(
    stack: AsyncExitStack,
    alias: str,
    settings: AgentSettings,
    tools: SessionTools,
    environ: Mapping[str, str],
    most: int,
) -> Agent:
    # Imported where it is configured only: it takes half a second and 30 MB.
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    from ingest.agents.dialect import Dialect
    from ingest.agents.openai import OpenAiAgent
    from ingest.agents.refusals import read_refusal

    if settings.model is None:
        raise ConfigError(f"agents.{alias}: set model to the name of a model")
    if settings.max_tokens is not None and settings.max_completion_tokens is not None:
        raise ConfigError(f"agents.{alias}: set max_tokens or max_completion_tokens, not both")
    headers = _headers(alias, settings, environ)
    client = AsyncOpenAI(
        base_url=settings.base_url,
        api_key=_key(alias, settings, environ),
        http_client=DefaultAsyncHttpxClient(event_hooks={"response": [read_refusal]}),
    )
    stack.push_async_callback(client.close)
    return OpenAiAgent(client, Dialect(alias, settings, headers), tools=tools, most=most)


def _headers(alias: str, settings: AgentSettings, environ: Mapping[str, str]) -> dict[str, str]:
    secret = {
        name: secret_in_environment(f"agents.{alias}", variable, environ)
        for name, variable in settings.extra_headers_env.items()
    }
    headers = {**settings.extra_headers, **secret}
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or not value.isprintable() or not value.isascii():
            raise ConfigError(
                f"agents.{alias}: the header {name[:80]!r} needs a name of letters, digits and -, "
                "and a value of printable ASCII characters"
            )
    return headers


def _key(alias: str, settings: AgentSettings, environ: Mapping[str, str]) -> str:
    where = f"agents.{alias}.api_key"
    variable, file = settings.api_key_env, settings.api_key_file
    key = secret_of(where, settings.api_key, variable, file, environ)
    return key or "none"  # servers on the own machine want none


__all__ = ["opened_agents"]
