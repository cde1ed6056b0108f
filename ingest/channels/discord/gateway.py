"""Discord's gateway, by hikari: one connection, which it keeps up and resumes by itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from hikari import GatewayBot, Intents, ShardPayloadEvent
from hikari.api.config import CacheComponents
from hikari.errors import GatewayServerClosedConnectionError, HikariError
from hikari.impl.config import CacheSettings

from ingest.channels.base import Undeliverable
from ingest.channels.discord.rest import InvalidToken, explained_error, settings_of
from sessions.errors import Retryable
from sessions.process.tasks import end_all

_INTENTS: Final = Intents.GUILDS | Intents.GUILD_MESSAGES | Intents.DM_MESSAGES
# Seconds for Discord to answer that we leave.
_LEAVING: Final = 6.0
# How Discord closes a connection for good.
_INVALID_TOKEN: Final = 4004
_DISALLOWED_INTENTS: Final = 4014


class MissingIntent(Undeliverable):
    """The application may not read what people write."""

    def __init__(self) -> None:
        super().__init__(
            "Discord refuses the Message Content Intent: switch it on in the Developer Portal, on "
            "the Bot page, or set mention_only = true, which does without it"
        )


@dataclass(frozen=True, slots=True)
class GatewayEvent:
    """What the gateway brought, by Discord's name for it."""

    name: str
    payload: Mapping[str, Any]


class GatewayConnection:
    """A connection that is kept up from `run` to `close`. For one use."""

    def __init__(self, token: str, base: str, *, direct: bool, reads_content: bool) -> None:
        self.arrivals: asyncio.Queue[GatewayEvent] = asyncio.Queue()
        http, proxy = settings_of(direct=direct)
        self._bot = GatewayBot(
            token,
            banner=None,
            logs=None,
            suppress_optimization_warning=True,
            cache_settings=CacheSettings(components=CacheComponents.NONE),
            intents=_INTENTS | Intents.MESSAGE_CONTENT if reads_content else _INTENTS,
            auto_chunk_members=False,
            http_settings=http,
            proxy_settings=proxy,
            rest_url=base,
        )
        self._bot.event_manager.subscribe(ShardPayloadEvent, self._bring)
        self._starting: asyncio.Task[None] | None = None

    async def _bring(self, event: ShardPayloadEvent) -> None:
        # The library starts these in the order of the events, and this waits for nothing.
        self.arrivals.put_nowait(GatewayEvent(event.name, dict(event.payload)))

    async def run(self) -> NoReturn:
        """Keep the connection; raises Retryable, MissingIntent or InvalidToken when it ends."""
        try:
            self._starting = asyncio.create_task(
                self._bot.start(check_for_updates=False), name="start of a Discord gateway"
            )
            # Cut off in its start, the library would leave a connection behind.
            await asyncio.shield(self._starting)
            await self._bot.join()
        except GatewayServerClosedConnectionError as error:
            raise _explained(error) from None
        except HikariError as error:
            raise explained_error(error) from None
        except RuntimeError as error:
            raise Retryable(f"the gateway does not start: {error}") from None
        raise Retryable("the gateway ended")

    async def close(self) -> None:
        """Leave the gateway, as soon as Discord has answered the start."""
        if self._starting is not None:
            # What it raised was told by `run`, or nobody waits for it any more.
            await asyncio.gather(self._starting, return_exceptions=True)
        if self._bot.is_alive:
            with contextlib.suppress(HikariError):
                await self._bot.close()


class GatewayConnector:
    """Opens connections in the name of one bot, and sees to it that each is left. For one loop."""

    def __init__(self, token: str, base: str, *, direct: bool, reads_content: bool) -> None:
        self._token = token
        self._base = base
        self._direct = direct
        self._reads_content = reads_content
        self._leaving: set[asyncio.Task[None]] = set()

    def connection(self) -> GatewayConnection:
        """A new one. Run it, and `leave` it then."""
        return GatewayConnection(
            self._token, self._base, direct=self._direct, reads_content=self._reads_content
        )

    def leave(self, connection: GatewayConnection) -> None:
        """Close the connection without waiting: Discord may take seconds to answer, or be away."""
        closing = asyncio.create_task(connection.close(), name="end of a Discord gateway")
        self._leaving.add(closing)
        closing.add_done_callback(self._leaving.discard)

    async def aclose(self) -> None:
        """Return when all connections are closed, or after some seconds."""
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=_LEAVING)
            await end_all(self._leaving)


def _explained(error: GatewayServerClosedConnectionError) -> Retryable | Undeliverable:
    code = int(error.code or 0)
    if code == _DISALLOWED_INTENTS:
        return MissingIntent()
    if code == _INVALID_TOKEN:
        return InvalidToken("Discord does not know the bot's token")
    return Retryable(f"Discord closed the gateway with {code}")
