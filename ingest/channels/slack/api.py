"""Slack's Web API, as far as a channel needs it, with errors that say what to do."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping
from typing import Any, Final, cast

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from ingest.channels.base import PauseAsked, Undeliverable
from sessions.errors import Retryable

# Seconds for an answer of Slack.
TIMEOUT: Final = 10.0
# Seconds that Slack is left alone at most; a proxy in its place may say anything.
_LONGEST_PAUSE: Final = 3600.0
# Characters of an error's name. Anything may stand there if Slack is not who answers.
_LONGEST: Final = 100
# Errors that pass by themselves. Slack answers every other one the same way next time.
_PASSING: Final = frozenset(
    {
        "accesslimited",
        "fatal_error",
        "internal_error",
        "org_login_required",
        "ratelimited",
        "rate_limited",
        "request_timeout",
        "service_unavailable",
        "team_added_to_org",
    }
)
# Statuses with which a proxy, or Slack itself, says so by any name.
_PASSING_STATUSES: Final = frozenset({408, 425, 429, *range(500, 600)})


class SlackApi:
    """The calls of one bot.

    Each raises Retryable, PauseAsked if Slack says for how long, and Undeliverable for what never
    works.
    """

    def __init__(self, token: str | None, base_url: str, *, direct: bool) -> None:
        """`direct` never goes by way of a proxy. For one event loop; `aclose` ends it."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT))
        # Tries are ours: the library's own would hide how long Slack wants to be left alone.
        client = AsyncWebClient(
            token, base_url, session=self._session, logger=_quiet(), retry_handlers=[]
        )
        if direct:
            client.proxy = None
        # Its methods have types in part only.
        self._client: Any = client

    async def aclose(self) -> None:
        """Close its connections."""
        await self._session.close()

    async def post(
        self, channel: str, text: str, *, thread: str | None, metadata: Mapping[str, Any]
    ) -> None:
        """Post a message."""
        await _answer(
            self._client.chat_postMessage(
                channel=channel, text=text, thread_ts=thread, metadata=dict(metadata)
            )
        )

    async def show_status(self, channel: str, thread: str, status: str) -> None:
        """Show in a thread what the bot does."""
        await _answer(
            self._client.assistant_threads_setStatus(
                channel_id=channel, thread_ts=thread, status=status
            )
        )

    async def name_of(self, user: str) -> str:
        """The name that others see of the user; the id if there is none."""
        answer = await _answer(self._client.users_info(user=user))
        found = _table(answer.get("user"))
        profile = _table(found.get("profile"))
        names = (profile.get("display_name"), profile.get("real_name"), found.get("name"))
        return next((name for name in names if isinstance(name, str) and name), user)

    async def socket_url(self, app_token: str) -> str:
        """The address of a new Socket Mode connection. It holds a secret that is good once."""
        answer = await _answer(self._client.apps_connections_open(app_token=app_token))
        url = answer.get("url")
        if not isinstance(url, str):
            raise Retryable("Slack gives no address for Socket Mode")
        return url

    async def scopes(self) -> frozenset[str]:
        """The scopes that the token has."""
        response = await _response(self._client.auth_test())
        headers: Mapping[str, str] = response.headers
        granted = headers.get("x-oauth-scopes", "")
        return frozenset(scope.strip() for scope in granted.split(",") if scope.strip())

    async def connect(self, url: str) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket to that address."""
        try:
            # Pings come to the caller, who sees by them that Slack is there.
            return await self._session.ws_connect(
                url, autoping=False, proxy=self._client.proxy, max_msg_size=0
            )
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Retryable(f"Slack takes no connection: {type(error).__name__}") from None


async def _answer(call: Awaitable[Any]) -> Mapping[str, Any]:
    return _table((await _response(call)).data)


async def _response(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except SlackApiError as error:
        raise _explained(cast("Any", error).response) from None
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Retryable(f"Slack does not answer: {type(error).__name__}") from None
    except Exception as error:  # noqa: BLE001 - the library raises anything for a strange answer
        raise Retryable(f"Slack gives a strange answer ({type(error).__name__})") from None


def _explained(response: object) -> Retryable | Undeliverable:
    """The error of ours for an answer that is none of success. It quotes names only."""
    data = _table(getattr(response, "data", None))
    name = data.get("error")
    if not isinstance(name, str):
        return _passing("Slack gives a strange answer", response)
    said = f"Slack answers {name[:_LONGEST]}"
    if name in _PASSING or _status_of(response) in _PASSING_STATUSES:
        return _passing(said, response)
    needed = data.get("needed")
    return Undeliverable(f"{said}: {needed[:_LONGEST]}" if isinstance(needed, str) else said)


def _status_of(response: object) -> int:
    status = getattr(response, "status_code", 0)
    return status if isinstance(status, int) else 0


def _passing(said: str, response: object) -> Retryable:
    headers = cast("Mapping[str, str]", getattr(response, "headers", {}))
    told = headers.get("Retry-After", "")
    if told.isascii() and told.isdigit():
        return PauseAsked(said, retry_after=min(float(told), _LONGEST_PAUSE))
    return Retryable(said)


def _table(found: object) -> Mapping[str, Any]:
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _quiet() -> logging.Logger:
    """A logger for the library, which tells texts and headers at the level of debugging."""
    logger = logging.getLogger("slack_sdk.turnstream")
    logger.setLevel(logging.WARNING)
    return logger
