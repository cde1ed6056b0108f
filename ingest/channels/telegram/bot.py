"""Calls of the Bot API that the client library makes in a way that does not do here."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from typing import Any, Final, cast

from telegram import Bot
from telegram.error import NetworkError, TelegramError
from telegram.request import HTTPXRequest

from ingest.channels.making import trusted_certificates
from ingest.channels.telegram.polling import POLL_SECONDS
from sessions.errors import ConfigError

UPDATES: Final = ["message"]
# Seconds for an answer of the Bot API beyond what it may wait itself.
_TIMEOUT: Final = 10.0
# Updates that Telegram gives at a time.
_BATCH: Final = 100
# Seconds after which another name than ours makes us ask again: BotFather can rename a bot.
_NAME_AGE: Final = 600.0
_NUMBER: Final = re.compile(rb'"update_id"\s*:\s*([0-9]{1,18})\b')


def make_bot(
    token: str, api_base_url: str, *, direct: bool, where: str
) -> tuple[Bot, list[HTTPXRequest]]:
    """A bot, and what has to be shut down behind it; `direct` never goes by way of a proxy.

    Raises ConfigError for a token that cannot be one.
    """
    if not re.fullmatch(r"[0-9]+:[A-Za-z0-9_-]+", token):
        raise ConfigError(f"{where}.bot_token must have the form 123456:letters, as BotFather says")
    kwargs = {
        "trust_env": not direct,
        "verify": trusted_certificates(by_environment=not direct),
    }
    requests = [
        _Request(read_timeout=_TIMEOUT, connect_timeout=_TIMEOUT, httpx_kwargs=kwargs)
        for _ in range(2)
    ]
    base = api_base_url.rstrip("/")
    bot = Bot(
        token,
        base_url=f"{base}/bot",
        base_file_url=f"{base}/file/bot",
        request=requests[0],
        get_updates_request=requests[1],
    )
    return bot, [*requests]


async def fetch_updates(bot: Bot, offset: int | None) -> Sequence[Any]:
    """The oldest updates from `offset` on, as they came; those before it are confirmed.

    Raises TelegramError. An answer that is no JSON is asked for again one by one; then an update
    that is none stands there as its number alone.
    """
    try:
        return await _updates(bot, offset, _BATCH)
    except _NotJson:
        pass
    try:
        return await _updates(bot, offset, 1)
    except _NotJson as error:
        if error.number is None:
            raise
        return [{"update_id": error.number, "message": "unreadable"}]


async def _updates(bot: Bot, offset: int | None, limit: int) -> Sequence[Any]:
    wanted = {"offset": offset, "limit": limit, "timeout": POLL_SECONDS}
    try:
        # The library's own method reads the updates too, all or none, and logs them if it cannot.
        # By this spelling it does not mistake the call for that one, and warn of it.
        found: object = await bot.do_api_request(
            "get_Updates",
            {**wanted, "allowed_updates": UPDATES},
            read_timeout=_TIMEOUT + POLL_SECONDS,
        )
    except TelegramError:
        raise
    except Exception as error:  # noqa: BLE001 - the library raises anything for a strange answer
        raise NetworkError(f"a strange answer ({type(error).__name__})") from None
    if not isinstance(found, list):
        raise NetworkError("a strange answer (no list of updates)")
    return cast("list[Any]", found)


class OwnName:
    """The bot's own user name, asked for when it matters and remembered. For one event loop."""

    def __init__(self, bot: Bot) -> None:
        self._bot = bot
        self._name: str | None = None
        self._asked = 0.0

    async def is_ours(self, name: str) -> bool:
        """Whether that is the bot's name, in whatever case. Raises TelegramError."""
        if self._name != name.lower() and self._is_old():
            self._name = await self._ask()
            self._asked = time.monotonic()
        return self._name == name.lower()

    def _is_old(self) -> bool:
        return self._name is None or time.monotonic() - self._asked > _NAME_AGE

    async def _ask(self) -> str:
        try:
            return str((await self._bot.get_me()).username).lower()
        except TelegramError:
            raise
        except Exception as error:  # noqa: BLE001 - the library raises anything for a strange answer
            raise NetworkError(f"a strange answer ({type(error).__name__})") from None


class _NotJson(TelegramError):
    """The answer is no JSON that can be read; `number` is the first update's, if it shows."""

    def __init__(self, number: int | None) -> None:
        super().__init__("the answer is no JSON")
        self.number = number


class _Request(HTTPXRequest):
    """Reads answers without logging what it cannot read."""

    @staticmethod
    def parse_json_payload(payload: bytes) -> dict[str, Any]:
        """The answer; raises _NotJson."""
        try:
            return json.loads(payload.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            found = _NUMBER.search(payload)
            raise _NotJson(int(found[1]) if found else None) from None
