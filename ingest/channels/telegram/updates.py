"""From what Telegram brought to a message whose parts are what they should be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, cast

from pydantic import BaseModel, ConfigDict, Field
from telegram import Bot, Message

from ingest.channels.base import Unreadable
from ingest.channels.telegram.text import with_context
from sessions import times

# Numbers of users, chats and messages; Telegram's have 52 bits at most.
_BOUND: Final = 2**63
_Number = Annotated[int, Field(gt=-_BOUND, lt=_BOUND)]


class _Part(BaseModel):
    """A part as the Bot API documents it; what is not asked for may be anything."""

    model_config = ConfigDict(strict=True, extra="ignore")


class _Chat(_Part):
    id: _Number
    type: str


class _Person(_Part):
    id: _Number
    is_bot: bool
    username: str | None = None


class _Message(_Part):
    """What is used of a message. The library checks no types."""

    message_id: _Number
    date: _Number
    chat: _Chat
    sender: _Person | None = Field(None, alias="from")
    message_thread_id: _Number | None = None
    is_topic_message: bool | None = None
    text: str | None = None
    caption: str | None = None


def read_message(update: Mapping[str, Any], bot: Bot) -> Message | None:
    """The message in an update; None if it has none. Raises Unreadable, which shows nothing of it.

    The rest of the update may be anything.
    """
    raw = update.get("message")
    if raw is None:
        return None
    try:
        _Message.model_validate(raw)
        message = Message.de_json(cast("dict[str, Any]", raw), bot)
        # Everything that is stored of it, as bytes: half a surrogate pair cannot be.
        with_context(message, message.text or message.caption or "").encode()
        if message.from_user is not None:
            (message.from_user.username or "").encode()
    except Exception as error:  # noqa: BLE001 - the library raises anything for what it cannot read
        raise Unreadable(f"its message cannot be read ({type(error).__name__})") from None
    return message


def time_of(message: Message) -> int:
    """When it was written; now, if it says what no calendar shows."""
    moment = int(message.date.timestamp()) * times.SECOND
    return moment if times.is_showable(moment) else times.now()
