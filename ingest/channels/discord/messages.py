"""From what Discord brought to what somebody said to the bot."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ingest.channels.base import ChannelMessage, Unreadable
from ingest.channels.commands import command_of
from ingest.channels.discord.snowflakes import time_of
from ingest.channels.quoting import quoted
from sessions.ids import derived_id

# Kinds of messages that people write: an ordinary one, and one that answers another.
_WRITTEN: Final = frozenset({0, 19})
# A user's name in a text.
_NAMED: Final = re.compile(r"<@!?([0-9]{1,20})>")

Id = Annotated[str, Field(pattern=r"^[0-9]{1,19}$")]


class PayloadPart(BaseModel):
    """A part as Discord documents it; what is not asked for may be anything."""

    model_config = ConfigDict(strict=True, extra="ignore")


class User(PayloadPart):
    """A person, or a bot."""

    id: Id
    username: str
    bot: bool = False


class _Attachment(PayloadPart):
    filename: str


class _Quoted(PayloadPart):
    author: User
    content: str = ""


class _Forwarded(PayloadPart):
    content: str = ""
    attachments: list[_Attachment] = []


class _Snapshot(PayloadPart):
    message: _Forwarded


class ReadMessage(PayloadPart):
    """A message in a channel, thread or direct conversation. A thread is a channel of its own."""

    id: Id
    channel_id: Id
    guild_id: Id | None = None
    type: int
    author: User
    webhook_id: Id | None = None
    content: str
    mentions: list[User] = []
    attachments: list[_Attachment] = []
    referenced_message: _Quoted | None = None
    message_snapshots: list[_Snapshot] = []
    # Only whether there is one.
    sticker_items: list[Any] = []
    poll: Any = None

    @property
    def is_empty(self) -> bool:
        """Whether it shows nothing at all, which nobody can have sent."""
        return not (
            self.content
            or self.attachments
            or self.message_snapshots
            or self.sticker_items
            or self.poll
        )


def read_message(raw: Mapping[str, Any]) -> ReadMessage:
    """The message; raises Unreadable, which shows nothing of it."""
    try:
        message = ReadMessage.model_validate(raw)
        # Everything that is stored of it, as bytes: half a surrogate pair cannot be.
        message.model_dump_json()
    except (ValidationError, ValueError) as error:
        raise Unreadable(f"it is not what Discord sends ({type(error).__name__})") from None
    return message


@dataclass(frozen=True, slots=True)
class Listening:
    """Whom and what a bot listens to. `bot` is its own number, `allowed` has names and numbers."""

    bot: str
    allowed: frozenset[str]
    guilds: frozenset[str]
    channels: frozenset[str]
    mention_only: bool
    session: Literal["person", "channel"]

    def may_write(self, user: User) -> bool:
        """Whether the bot answers this user."""
        return not self.allowed.isdisjoint({"*", user.id, user.username.lower()})

    def is_place(self, channel: str, guild: str | None) -> bool:
        """Whether the bot answers there. Direct messages have no guild, and are always heard."""
        return guild is None or (
            (not self.guilds or guild in self.guilds)
            and (not self.channels or channel in self.channels)
        )

    def is_written(self, message: ReadMessage) -> bool:
        """Whether a person wrote it, in a place where the bot answers."""
        return (
            message.type in _WRITTEN
            and not message.author.bot
            and message.webhook_id is None
            and self.is_place(message.channel_id, message.guild_id)
        )

    def is_meant(self, message: ReadMessage) -> bool:
        """Whether it is for the bot, where only some messages are."""
        reply = message.referenced_message
        return (
            not self.mention_only
            or message.guild_id is None
            or any(user.id == self.bot for user in message.mentions)
            or (reply is not None and reply.author.id == self.bot)
        )

    def channel_message(self, *, id: str, channel: str, user: User, text: str) -> ChannelMessage:
        """What the user said there, in the session that it belongs to. `id` is the platform's."""
        is_shared = self.session == "channel"
        if is_shared and command_of(text) is None:
            text = f"{user.username}: {text}"
        return ChannelMessage(
            id=derived_id("dc", self.bot, id),
            text=text,
            sender=user.id,
            target=channel,
            address=channel,
            at=time_of(int(id)),
            by_room=is_shared,
        )


def text_of(message: ReadMessage, bot: str) -> str:
    """The text as it is stored; empty if nothing is said. A command stands alone."""
    if message.message_snapshots:
        # Commands in it were meant for its first readers.
        return "\n\n".join(_forwarded(shot.message) for shot in message.message_snapshots)
    said = _with_names(message, bot)
    if command_of(said):
        return said
    text = _with_names_of_files(said, message.attachments)
    reply = message.referenced_message
    if text and reply is not None and reply.content:
        return f"{quoted(reply.author.username, reply.content)}\n\n{text}"
    return text


def _with_names(message: ReadMessage, bot: str) -> str:
    """The text without the bot's own name, and with those of others as people read them."""
    names = {user.id: user.username for user in message.mentions}
    ours = re.compile(rf"[ \t]*<@!?{bot}>[ \t]*")
    text = ours.sub(" ", message.content)
    return _NAMED.sub(lambda found: f"@{names.get(found[1], found[1])}", text).strip()


def _with_names_of_files(text: str, files: Sequence[_Attachment]) -> str:
    if not files:
        return text
    listed = "\n".join(["[Attachments]", *(file.filename for file in files)])
    return f"{text}\n\n{listed}" if text else listed


def _forwarded(shot: _Forwarded) -> str:
    gap = "\n" if "\n" in shot.content else " "
    return f"[Forwarded]{gap}{_with_names_of_files(shot.content, shot.attachments)}"
