"""The only place where an agent's provider is chosen."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from ingest.agents.base import Agent
from ingest.agents.echo import EchoAgent
from ingest.agents.tools import SessionTools
from sessions.errors import ConfigError
from sessions.settings import AgentSettings


@asynccontextmanager
async def opened_agents(
    agents: Mapping[str, AgentSettings],
    *,
    tools: Callable[[str], SessionTools],
    environ: Mapping[str, str],
) -> AsyncGenerator[dict[str, Agent]]:
    """The agents of the settings by their alias; `tools` gives each its session tools.

    Raises ConfigError for one that cannot be used as it is configured.
    """
    async with AsyncExitStack() as stack:
        found: dict[str, Agent] = {}
        for alias, settings in agents.items():
            if settings.provider == "echo":
                found[alias] = EchoAgent()
            else:
                found[alias] = await _openai(stack, alias, settings, tools(alias), environ)
        yield found


async def _openai(
    stack: AsyncExitStack,
    alias: str,
    settings: AgentSettings,
    tools: SessionTools,
    environ: Mapping[str, str],
) -> Agent:
    # Imported where it is configured only: it takes half a second and 30 MB.
    from openai import AsyncOpenAI

    from ingest.agents.openai import OpenAiAgent

    if settings.model is None:
        raise ConfigError(f"agents.{alias}: set model to the name of a model")
    client = AsyncOpenAI(base_url=settings.base_url, api_key=_key(alias, settings, environ))
    stack.push_async_callback(client.close)
    return OpenAiAgent(
        client, model=settings.model, system_prompt=settings.system_prompt, tools=tools
    )


def _key(alias: str, settings: AgentSettings, environ: Mapping[str, str]) -> str:
    if settings.api_key_env is None:
        return "none"  # servers on the own machine want none
    key = environ.get(settings.api_key_env)
    if not key:
        raise ConfigError(f"agents.{alias}: the variable {settings.api_key_env} is not set")
    return key


__all__ = ["opened_agents"]
