"""Discord's REST API, by hikari, which heeds the rate limits."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self, cast

from hikari import applications, errors, messages
from hikari.impl import config, entity_factory
from hikari.impl import rest as hikari_rest

from ingest.channels.base import PauseAsked, Undeliverable
from sessions.errors import ConfigError, Retryable

# Seconds that the library waits by itself until Discord's limits let a request through. A longer
# pause is told to the caller, who has others to serve.
_OWN_WAIT: Final = 5.0
# Seconds for an answer.
_TIMEOUT: Final = 15.0
# Messages that Discord gives at a time.
PAGE: Final = 100
# Characters of a nonce at most, and of an error's text. A proxy's whole page may be in it.
_NONCE: Final = 25
_LONGEST_ERROR: Final = 300
# Statuses that pass by themselves.
_PASSING: Final = frozenset({408, 425, 429})
# The application's switches "Message Content Intent" for bots in many servers, and in few.
_CONTENT: Final = (
    applications.ApplicationFlags.MESSAGE_CONTENT_INTENT
    | applications.ApplicationFlags.MESSAGE_CONTENT_INTENT_LIMITED
)


class InvalidToken(Undeliverable):
    """Discord does not know the bot's token."""


@dataclass(frozen=True, slots=True)
class ApplicationInfo:
    """What Discord says of the application that the bot belongs to."""

    id: int
    public_key: str
    may_read_content: bool


class DiscordApi:
    """Requests in the name of one bot. Safe for concurrent use.

    Each raises Retryable or Undeliverable, the latter also as InvalidToken.
    """

    def __init__(self, client: hikari_rest.RESTClientImpl) -> None:
        self._client = client

    @classmethod
    def opened(cls, token: str, base: str, *, direct: bool) -> Self:
        """Requests in the running loop until `aclose`; `direct` never goes by way of a proxy."""
        http, proxy = settings_of(direct=direct)
        client = hikari_rest.RESTClientImpl(
            cache=None,
            entity_factory=_AsTheyCame(),
            executor=None,
            http_settings=http,
            proxy_settings=proxy,
            max_rate_limit=_OWN_WAIT,
            # Our own callers try again, and know for how long.
            max_retries=0,
            token=token,
            token_type=applications.TokenType.BOT,
            rest_url=base,
        )
        client.start()
        return cls(client)

    async def aclose(self) -> None:
        """End the connections."""
        await self._client.close()

    async def send(self, channel: int, text: str, *, id: str) -> None:
        """Send a message that notifies nobody by name.

        Within some minutes a message with the same `id` is the one that is there already.
        """
        with _explained():
            await self._client.create_message(
                channel,
                text,
                nonce=nonce_of(id),
                mentions_everyone=False,
                user_mentions=False,
                role_mentions=False,
            )

    async def show_typing(self, channel: int) -> None:
        """Show that the bot is typing, for ten seconds or until it has written."""
        with _explained():
            await self._client.trigger_typing(channel)

    async def messages_after(self, channel: int, mark: int) -> Sequence[Mapping[str, Any]]:
        """The oldest messages behind that id, as they came: at most PAGE, the oldest first."""
        with _explained():
            found = await self._client.fetch_messages(channel, after=mark).limit(PAGE)
        return cast("Sequence[Mapping[str, Any]]", found)

    async def application(self) -> ApplicationInfo:
        """What the token belongs to."""
        with _explained():
            raw = cast("Mapping[str, Any]", await self._client.fetch_application())
            return ApplicationInfo(
                int(raw["id"]), str(raw["verify_key"]), bool(int(raw["flags"]) & _CONTENT)
            )

    async def offer(self, commands: Mapping[str, str]) -> None:
        """Have Discord offer these commands, each with what it does, beside those it has."""
        id = (await self.application()).id
        with _explained():
            there = {command.name for command in await self._client.fetch_application_commands(id)}
            for name, text in commands.items():
                if name not in there:
                    await self._client.create_slash_command(id, name, text)


def nonce_of(id: str) -> str:
    """By what Discord knows a message that it is sent again."""
    return hashlib.sha256(id.encode()).hexdigest()[:_NONCE]


def bot_number(token: str, where: str) -> str:
    """The bot's own number, which its token holds. Raises ConfigError for what is no token."""
    try:
        return str(int(applications.get_token_id(token)))
    except ValueError:
        raise ConfigError(
            f"{where} must be the Token of the application's Bot page in the Developer Portal"
        ) from None


def settings_of(*, direct: bool) -> tuple[config.HTTPSettings, config.ProxySettings]:
    """How the library connects."""
    timeouts = config.HTTPTimeoutSettings(total=_TIMEOUT)
    return config.HTTPSettings(timeouts=timeouts), config.ProxySettings(trust_env=not direct)


class _AsTheyCame(entity_factory.EntityFactoryImpl):
    """Leaves messages and the application as Discord sent them.

    The library reads a page of messages as a whole. One that it cannot read would hide the others,
    and a sent message whose receipt it cannot read would seem not to be sent.
    """

    def __init__(self) -> None:
        # The objects of the library keep their app to make requests by. None is made here.
        super().__init__(cast("Any", None))

    def deserialize_message(self, payload: Any) -> messages.Message:
        """The message, as it came."""
        return payload

    def deserialize_application(self, payload: Any) -> applications.Application:
        """The application, as it came."""
        return payload


@contextmanager
def _explained() -> Generator[None]:
    """Raise errors of ours for the library's."""
    try:
        yield
    except errors.HikariError as error:
        raise explained_error(error) from None
    except (LookupError, TypeError, ValueError, AssertionError) as error:
        raise Retryable(f"Discord: a strange answer ({type(error).__name__})") from None


def explained_error(error: errors.HikariError) -> Retryable | Undeliverable:
    """The error of ours for one of the library's. No token is in its text."""
    if isinstance(error, errors.RateLimitTooLongError):
        return PauseAsked("Discord asks for a pause", retry_after=error.retry_after)
    if not isinstance(error, errors.HTTPResponseError):
        return Retryable(f"Discord does not answer as it should: {type(error).__name__}")
    status = int(error.status)
    text = f"Discord answered {status}{_said(error)}"
    if status >= 500 or status in _PASSING or status < 400:
        pause = _pause(error)
        return PauseAsked(text, retry_after=pause) if pause > 0 else Retryable(text)
    if isinstance(error, errors.UnauthorizedError):
        return InvalidToken(text)
    return Undeliverable(text)


def _said(error: errors.HTTPResponseError) -> str:
    if isinstance(error, errors.ClientHTTPResponseError):
        return f": {error.message[:_LONGEST_ERROR]} ({error.code})"
    return ""


def _pause(error: errors.HTTPResponseError) -> float:
    told = str(error.headers.get("retry-after", ""))
    is_number = told.isascii() and told.replace(".", "", 1).isdigit()
    return min(float(told), 3600.0) if is_number else 0.0
