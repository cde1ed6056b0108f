"""A Telegram bot, by the client library python-telegram-bot."""

from __future__ import annotations

import contextlib
import hmac
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, Literal

from telegram import Bot, Chat, Message
from telegram.constants import ChatAction
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Forbidden,
    InvalidToken,
    RetryAfter,
    TelegramError,
)

from ingest.channels.base import (
    ChannelMessage,
    Outgoing,
    PauseAsked,
    PushedMessages,
    PushRequest,
    Take,
    Undeliverable,
    Unreadable,
    name_of,
)
from ingest.channels.commands import command_of
from ingest.channels.failure_counts import ChannelFailure, ChannelFailures
from ingest.channels.lease import ChannelLease
from ingest.channels.pushed_json import pushed_object
from ingest.channels.splitting import split_text
from ingest.channels.telegram.bot import UPDATES, OwnName, fetch_updates
from ingest.channels.telegram.polling import poll
from ingest.channels.telegram.text import with_context
from ingest.channels.telegram.updates import read_message, time_of
from sessions.errors import ConfigError, Retryable
from sessions.ids import derived_id
from sessions.process.retry import Pauses, retry
from sessions.web.rejections import NotFound, WrongSignature

log = logging.getLogger(__name__)

# UTF-16 units of one message.
LONGEST: Final = 4096
# Seconds between two tries to tell Telegram where we are.
_AGAIN: Final = 5.0
# Characters of an error's text. A proxy's whole page may be in it.
_LONGEST_ERROR: Final = 300
# A command with the name of the bot that it is for.
_NAMED: Final = re.compile(r"\s*(?P<word>/[A-Za-z0-9_]+)@(?P<bot>[A-Za-z0-9_]+)(?=\s|$)")
_SECRET_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,256}")


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
        troubles: ChannelFailures,
        lease: ChannelLease,
        any_thread: bool = False,
    ) -> None:
        """With `any_thread` a session is told apart by all threads, not by topics alone."""
        self.alias = alias
        self._bot = bot
        self._number = bot.token.partition(":")[0]
        self._mode = mode
        self._allowed = allowed
        self._secret_token = secret_token
        self._webhook_url = webhook_url
        self._troubles = troubles
        self._lease = lease
        self._name = OwnName(bot)
        self._any_thread = any_thread

    # -- in ----------------------------------------------------------------------------------

    async def open(self, request: PushRequest) -> PushedMessages:
        """The message of an update that shows our secret token."""
        if self._mode != "webhook" or self._secret_token is None:
            raise NotFound(f"the channel telegram.{self.alias} fetches its messages itself")
        shown = request.headers.get("x-telegram-bot-api-secret-token", "")
        if not hmac.compare_digest(shown.encode("utf-8", "replace"), self._secret_token.encode()):
            raise WrongSignature("X-Telegram-Bot-Api-Secret-Token is not this channel's")
        # The update came from Telegram, which posts it again for ever if it is refused.
        try:
            incoming = await self.message_in(pushed_object(request.body))
        except Unreadable as error:
            self._troubles.add(ChannelFailure.UNREADABLE, channel=name_of(self))
            log.warning("telegram.%s: an update is skipped: %s", self.alias, error)
            incoming = None
        return PushedMessages([incoming] if incoming is not None else [], leave_out=True)

    async def message_in(self, update: Mapping[str, Any]) -> ChannelMessage | None:
        """What somebody who may write to the bot said to it in the update; None if nobody did.

        Raises Unreadable, and Retryable while it cannot be known whether the bot is meant.
        """
        message = read_message(update, self._bot)
        if message is None or not self._may_write(message):
            return None
        text = await self._said_to_us(message)
        if text is None:
            return None
        chat = str(message.chat.id)
        thread = _thread_of(message) if self._any_thread or message.is_topic_message else None
        place = f"{chat}:{thread}" if thread else chat
        return ChannelMessage(
            # A message's number counts within its chat, and a chat's within its bot.
            id=derived_id("tg", "bot", self._number, chat, str(message.message_id)),
            former=derived_id("tg", self.alias, chat, str(message.message_id)),
            text=text,
            sender=_sender(message),
            target=place,
            # Telegram sends to topics only.
            address=place if message.is_topic_message else chat,
            at=time_of(message),
            thread=thread,
            places=(chat, thread) if thread else (),
        )

    async def _said_to_us(self, message: Message) -> str | None:
        """The text as it is stored; None if it is empty, or a command to another bot."""
        text = message.text or message.caption or ""
        if not text.strip():
            return None
        if message.forward_origin is not None:
            # Commands in it were meant for its first readers.
            return with_context(message, text)
        named = _NAMED.match(text)
        if named is not None and await self._is_us(named["bot"]):
            bare = f"{named['word']}{text[named.end() :]}"
            text = bare if command_of(bare) else text
        elif named is not None and message.chat.type != Chat.PRIVATE:
            return None
        return text if command_of(text) else with_context(message, text)

    async def _is_us(self, name: str) -> bool:
        try:
            return await self._name.is_ours(name)
        except TelegramError as error:
            problem = self.explained(error)
            if isinstance(problem, Retryable):
                raise problem from None
            # It cannot be asked for, and a history is not deleted upon a guess.
            log.warning("telegram.%s: a command is not obeyed: %s", self.alias, problem)
            return False

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
        except Exception as error:  # noqa: BLE001 - the library could not read the receipt
            log.warning("telegram.%s: sent, %s in the answer", self.alias, type(error).__name__)

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
        said = str(error)[:_LONGEST_ERROR]
        text = f"the Bot API: {type(error).__name__}: {said}".replace(self._bot.token, "***")
        if isinstance(error, RetryAfter):
            return PauseAsked(text, retry_after=_seconds(error))
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
        await retry(
            lambda: self._set_webhook(url),
            on=(Retryable, Undeliverable),
            pauses=Pauses(_AGAIN, heeded=True),
            # No limit: without a webhook nothing comes to us at all.
            patience=None,
            report=lambda error: log.warning(
                "telegram.%s has no webhook yet: %s", self.alias, error
            ),
        )

    async def _set_webhook(self, url: str) -> None:
        try:
            await self._bot.set_webhook(
                url, secret_token=self._secret_token, allowed_updates=UPDATES
            )
        except TelegramError as error:
            raise self.explained(error) from None

    async def begin_polling(self) -> None:
        """Have Telegram keep messages for us instead of posting them; raises as `send` does."""
        try:
            await self._bot.delete_webhook()
        except TelegramError as error:
            raise self.explained(error) from None

    async def updates(self, offset: int | None) -> Sequence[Any]:
        """The oldest updates from that one on, waited for; those before it are confirmed.

        They are as Telegram sent them: one that cannot be read must not hide the others.
        """
        try:
            return await fetch_updates(self._bot, offset)
        except TelegramError as error:
            raise self.explained(error) from None

    def count(self, trouble: ChannelFailure) -> None:
        """Count what went wrong with an update."""
        self._troubles.add(trouble, channel=name_of(self))


def checked_secret_token(token: str | None, where: str) -> str:
    """The token, if the Bot API takes it as one; raises ConfigError."""
    if token is None or not _SECRET_TOKEN.fullmatch(token):
        raise ConfigError(
            f'{where}: mode = "webhook" needs secret_token or secret_token_env, 1 to 256 '
            "characters of A-Z a-z 0-9 _ -"
        )
    return token


def _thread_of(message: Message) -> str | None:
    # Replies in an ordinary group have one too, in which upstream alone sees a thread.
    number = message.message_thread_id
    return str(number) if number is not None else None


def _sender(message: Message) -> str:
    user = message.from_user
    assert user is not None
    return user.username or str(user.id)


def _seconds(error: RetryAfter) -> float:
    pause = error.retry_after
    return pause.total_seconds() if isinstance(pause, timedelta) else float(pause)
