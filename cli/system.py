"""Finds the system that a command is about: where its API and its Redis are, and the token.

TURNSTREAM_API_URL (or `api_url` in the settings) names one that runs elsewhere; it comes first,
because a user who sets it means it. Else it is the `up` of the workspace. Nobody else is asked: the
program that listens on the port of the settings may be anything.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from cli.supervision.running import UpRecord
from sessions.access.tokens import TOKEN_FILE, ShownToken
from sessions.errors import ConfigError, Retryable
from sessions.process.settings import Settings
from sessions.stream.redis import connect
from sessions.stream.replies.replies import Replies
from sessions.stream.turns import TurnStream


@dataclass(frozen=True)
class TargetSystem:
    """Where things are; an `api_url` or `redis_url` of None is unknown.

    `running` is the `up` of the workspace. A system that `is_bound` is the workspace's own, so that
    its server must serve the workspace's store, and must say so where `is_strict`.
    """

    settings: Settings
    api_url: str | None
    redis_url: str | None
    token: str | None
    running: UpRecord | None
    is_bound: bool = True
    is_strict: bool = True

    @classmethod
    def find(cls, settings: Settings, environ: Mapping[str, str]) -> TargetSystem:
        """The system that the settings and the environment mean; nothing is asked yet."""
        elsewhere = settings.turnstream.api_url or None
        running = None if elsewhere else UpRecord.find(settings.workspace)
        if running is not None:
            # It may have been started with other variables, or with a settings file of its own.
            settings = settings.replace(session_backend=running.backend, prefix=running.prefix)
        url = elsewhere or (running.url if running else None)
        given = ShownToken.of(environ).current()
        return cls(
            settings=settings,
            api_url=url.rstrip("/") if url else None,
            redis_url=running.redis_url if running else settings.redis_url,
            token=given or ShownToken(path=settings.workspace / TOKEN_FILE).current(),
            running=running,
            # An address and a token from outside belong together, whatever the workspace holds.
            is_bound=not (elsewhere and given),
        )

    @property
    def is_local(self) -> bool:
        """Whether the workspace is where the store is: no other system was named."""
        return not self.settings.turnstream.api_url

    @property
    def only_agent(self) -> str | None:
        """The agent that is meant if nobody names one: the only one, else `main`, else none."""
        agents = [*self.settings.agents]
        if len(agents) == 1:
            return agents[0]
        return "main" if "main" in agents else None

    def required_api_url(self) -> str:
        """The URL of the api; raises Retryable that says what to start or to name."""
        if self.api_url is None:
            raise Retryable(
                f"{self.absence()}: start one with `turnstream up`, name its directory with "
                "--workspace, or set TURNSTREAM_API_URL and TURNSTREAM_TOKEN"
            )
        return self.api_url

    def absence(self) -> str:
        """What is missing here, where nothing runs."""
        workspace = self.settings.workspace
        if not workspace.is_dir():
            return f"there is no workspace {workspace}"
        return f"no turnstream runs in {workspace}"

    def required_redis_url(self) -> str:
        """The URL of Redis; raises ConfigError that says how to give it."""
        if self.redis_url is None:
            raise ConfigError(
                f"{self.absence()}, and REDIS_URL is not set: start one with `turnstream up`, name "
                "its directory with --workspace, or set REDIS_URL"
            )
        return self.redis_url

    @asynccontextmanager
    async def stream(self) -> AsyncGenerator[TurnStream]:
        """The stream, with a connection that closes behind the block."""
        url = self.required_redis_url()
        own = self.settings.turnstream
        async with aclosing(connect(url)) as redis:
            yield TurnStream(redis, url=url, prefix=own.prefix, max_content=own.max_content_bytes)

    @asynccontextmanager
    async def replies(self) -> AsyncGenerator[Replies]:
        """The replies that were not taken, with a connection that closes behind the block."""
        url, prefix = self.required_redis_url(), self.settings.turnstream.prefix
        give_up = self.settings.channels.reply_give_up_secs
        async with aclosing(connect(url)) as redis:
            yield Replies(redis, url=url, prefix=prefix, give_up=give_up)
