"""A Telegram bot, by the client library python-telegram-bot."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, Literal, cast

from telegram import Bot, Message, Update
from telegram.constants import ChatAction
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Forbidden,
    InvalidToken,
    RetryAfter,
    TelegramError,
)
from telegram.request import HTTPXRequest

from ingest.channels.base import Arrival, Outgoing, Parcel, Post, Take, Undeliverable
from ingest.channels.lease import Lease
from ingest.channels.polling import POLL_SECONDS, poll
from ingest.channels.splitting import split_text
from ingest.errors import BrokenPayload, NotFound, WrongSignature
from ingest.ids import derived_id
from sessions import times
from sessions.asgi import parse_json
from sessions.errors import ConfigError, Retryable

log = logging.getLogger(__name__)

# UTF-16 units of one message.
LONGEST: Final = 4096
# Seconds for an answer of the Bot API beyond what it may wait itself.
_TIMEOUT: Final = 10.0
# Seconds between two tries to tell Telegram where we are.
_AGAIN: Final = 5.0
_SECRET_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,256}")
_UPDATES: Final = ["message"]


class TelegramChannel:
    """One bot. Its messages are fetched (`polling`) or posted to us (`webhook`)."""

    type: str = "telegram"
    delivers: bool = True

    def __init__(
        self,
        alias: str,
        bot: Bot,
        *,
        mode: Literal["polling", "webhook"],
        allowed: frozenset[str],
        secret_token: str | None = None,
        webhook_url: str | None = None,
        lease: Lease,
    ) -> None:
        self.alias = alias
        self._bot = bot
        self._number = bot.token.partition(":")[0]
        self._mode = mode
        self._allowed = allowed
        self._secret_token = secret_token
        self._webhook_url = webhook_url
        self._lease = lease

    # -- in ----------------------------------------------------------------------------------

    async def open(self, post: Post) -> Parcel:
        """The message of an update that shows our secret token."""
        if self._mode != "webhook" or self._secret_token is None:
            raise NotFound(f"the channel telegram.{self.alias} fetches its messages itself")
        shown = post.headers.get("x-telegram-bot-api-secret-token", "")
        if not hmac.compare_digest(shown.encode("utf-8", "replace"), self._secret_token.encode()):
            raise WrongSignature("X-Telegram-Bot-Api-Secret-Token is not this channel's")
        arrival = self.arrival(self._update(parse_json(post.body)))
        return Parcel([arrival] if arrival is not None else [])

    def _update(self, document: Any) -> Update:
        try:
            return Update.de_json(cast("dict[str, Any]", document), self._bot)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise BrokenPayload(f"this is no update of the Bot API: {error!r}") from None

    def arrival(self, update: Update) -> Arrival | None:
        """What somebody who may write to the bot said in the update; None where nobody did."""
        message = update.message
        text = (message.text or message.caption or "") if message is not None else ""
        if message is None or not text.strip() or not self._may_write(message):
            return None
        chat = str(message.chat.id)
        thread = str(message.message_thread_id) if _is_topic(message) else None
        place = f"{chat}:{thread}" if thread else chat
        return Arrival(
            # A message's number counts within its chat, and a chat's within its bot.
            id=derived_id("tg", "bot", self._number, chat, str(message.message_id)),
            former=derived_id("tg", self.alias, chat, str(message.message_id)),
            text=text,
            sender=_sender(message),
            target=place,
            address=place,
            at=int(message.date.timestamp()) * times.SECOND,
            thread=thread,
            places=(chat, thread) if thread else (),
        )

    def _may_write(self, message: Message) -> bool:
        user = message.from_user
        if user is None or user.is_bot:
            return False
        names = {"*", str(user.id), *([user.username.lower()] if user.username else [])}
        if names & self._allowed:
            return True
        log.warning("telegram.%s: user %s is not in allowed_users", self.alias, user.id)
        return False

    # -- out ---------------------------------------------------------------------------------

    def split(self, text: str) -> Sequence[str]:
        """Pieces that one message can hold each."""
        return split_text(text, LONGEST)

    async def send(self, reply: Outgoing) -> None:
        """Send one message."""
        chat, _, thread = reply.address.partition(":")
        try:
            await self._say(int(chat), thread, reply.text)
        except ChatMigrated as moved:
            # A group that became a supergroup has another id from then on.
            await self.send(replace(reply, address=str(moved.new_chat_id)))
        except TelegramError as error:
            raise self.explained(error) from None

    async def _say(self, chat: int, thread: str, text: str) -> None:
        await self._bot.send_message(chat, text, message_thread_id=int(thread) if thread else None)

    async def show_work(self, address: str) -> None:
        """Show that the bot is typing."""
        chat, _, thread = address.partition(":")
        with contextlib.suppress(TelegramError):
            await self._bot.send_chat_action(
                int(chat), ChatAction.TYPING, message_thread_id=int(thread) if thread else None
            )

    def explained(self, error: TelegramError) -> Retryable | Undeliverable:
        """The error of ours for one of the library's, whose text may hold the token."""
        text = f"the Bot API: {type(error).__name__}: {error}".replace(self._bot.token, "***")
        if isinstance(error, RetryAfter):
            return Retryable(text, retry_after=_seconds(error))
        if isinstance(error, BadRequest | Forbidden | InvalidToken):
            return Undeliverable(text)
        return Retryable(text)

    # -- fetching ----------------------------------------------------------------------------

    async def listen(self, take: Take) -> None:
        """Fetch messages for ever, one replica at a time; or tell Telegram where to post them."""
        if self._mode == "polling":
            await poll(self, self._lease, take)
        elif self._webhook_url is not None:
            await self._announce(self._webhook_url)

    async def _announce(self, url: str) -> None:
        """Tell Telegram, however long it is away; every replica says the same."""
        while True:
            try:
                await self._bot.set_webhook(
                    url, secret_token=self._secret_token, allowed_updates=_UPDATES
                )
            except TelegramError as error:
                problem = self.explained(error)
                log.warning("telegram.%s has no webhook yet: %s", self.alias, problem)
                await asyncio.sleep(max(_AGAIN, getattr(problem, "retry_after", 0.0)))
            else:
                return

    async def begin_polling(self) -> None:
        """Have Telegram keep messages for us instead of posting them; raises as `send` does."""
        try:
            await self._bot.delete_webhook()
        except TelegramError as error:
            raise self.explained(error) from None

    async def updates(self, offset: int | None) -> Sequence[Update]:
        """The oldest updates from that one on, waited for; those before it are confirmed."""
        try:
            return await self._bot.get_updates(
                offset, timeout=POLL_SECONDS, allowed_updates=_UPDATES
            )
        except TelegramError as error:
            raise self.explained(error) from None


def make_bot(
    token: str, api_base_url: str, *, direct: bool, where: str
) -> tuple[Bot, list[HTTPXRequest]]:
    """A bot, and what has to be shut down behind it; `direct` never goes by way of a proxy.

    Raises ConfigError for a token that cannot be one.
    """
    if not re.fullmatch(r"[0-9]+:[A-Za-z0-9_-]+", token):
        raise ConfigError(f"{where}.bot_token must have the form 123456:letters, as BotFather says")
    kwargs = {"trust_env": not direct}
    requests = [
        HTTPXRequest(read_timeout=_TIMEOUT, connect_timeout=_TIMEOUT, httpx_kwargs=kwargs)
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
    return bot, requests


def checked_secret_token(token: str | None, where: str) -> str:
    """The token, if the Bot API takes it as one; raises ConfigError."""
    if token is None or not _SECRET_TOKEN.fullmatch(token):
        raise ConfigError(
            f'{where}: mode = "webhook" needs secret_token or secret_token_env, 1 to 256 '
            "characters of A-Z a-z 0-9 _ -"
        )
    return token


def _is_topic(message: Message) -> bool:
    # Replies in an ordinary group have a thread id too, and are no thread.
    return bool(message.is_topic_message) and message.message_thread_id is not None


def _sender(message: Message) -> str:
    user = message.from_user
    assert user is not None
    return user.username or str(user.id)


def _seconds(error: RetryAfter) -> float:
    pause = error.retry_after
    return pause.total_seconds() if isinstance(pause, timedelta) else float(pause)
