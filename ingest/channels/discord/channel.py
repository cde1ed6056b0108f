"""A Discord bot: messages by the gateway, commands over HTTP, replies by the REST API."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from nacl.signing import VerifyKey

from ingest.channels.base import (
    ChannelMessage,
    Outgoing,
    PushedMessages,
    PushRequest,
    Take,
    Undeliverable,
    Unreadable,
    name_of,
)
from ingest.channels.discord.backlog import Backlog
from ingest.channels.discord.following import GatewayFollower
from ingest.channels.discord.gateway import GatewayConnector
from ingest.channels.discord.interactions import COMMANDS, open_interaction
from ingest.channels.discord.marks import Watermarks
from ingest.channels.discord.messages import Listening, User, read_message, text_of
from ingest.channels.discord.rest import DiscordApi
from ingest.channels.discord.snowflakes import number_of
from ingest.channels.failure_counts import ChannelFailure, ChannelFailures
from ingest.channels.intake import MessageIntake
from ingest.channels.lease import ChannelLease
from ingest.channels.splitting import split_markdown
from sessions.errors import Retryable
from sessions.process.retry import OutageLog, Pauses, retry
from sessions.process.tasks import TaskWatcher, log_failure
from sessions.web.rejections import NotFound

log = logging.getLogger(__name__)

# Characters of one message, counted in UTF-16 units, which is never less than Discord counts.
LONGEST: Final = 2000
# Seconds between two tries to offer commands.
_AGAIN: Final = 5.0
_LONGEST_PAUSE: Final = 300.0


class DiscordChannel:
    """One bot. Safe for concurrent use."""

    type: str = "discord"
    delivers: bool = True

    def __init__(
        self,
        alias: str,
        api: DiscordApi,
        listening: Listening,
        *,
        connector: GatewayConnector,
        lease: ChannelLease,
        marks: Watermarks,
        troubles: ChannelFailures,
        public_key: VerifyKey | None = None,
    ) -> None:
        self.alias = alias
        self._api = api
        self._listening = listening
        self._public_key = public_key
        self._troubles = troubles
        self._marks = marks
        self._follower = GatewayFollower(
            name_of(self),
            lease=lease,
            marks=marks,
            connector=connector,
            is_place=listening.is_place,
            report_unreadable=self._skip,
        )

    # -- in ----------------------------------------------------------------------------------

    async def open(self, request: PushRequest) -> PushedMessages:
        """The command of an interaction that Discord has signed, or the answer to its ping."""
        if self._public_key is None:
            raise NotFound(f"the channel {name_of(self)} has no public_key, so takes no commands")
        return open_interaction(request, self._public_key, self._listening)

    async def message_in(self, update: Mapping[str, Any]) -> ChannelMessage | None:
        """What somebody who may write to the bot said to it; None if nobody did.

        Raises Unreadable.
        """
        message, listening = read_message(update), self._listening
        if not listening.is_written(message) or not listening.is_meant(message):
            return None
        if not self._may_write(message.author):
            return None
        if message.is_empty:
            raise Unreadable("its text is empty: is the Message Content Intent switched off?")
        text = text_of(message, listening.bot)
        return (
            listening.channel_message(
                id=message.id, channel=message.channel_id, user=message.author, text=text
            )
            if text
            else None
        )

    def _may_write(self, user: User) -> bool:
        if self._listening.may_write(user):
            return True
        log.warning("%s: user %s is not in allowed_users", name_of(self), user.id)
        return False

    # -- out ---------------------------------------------------------------------------------

    def split(self, text: str) -> Sequence[str]:
        """Pieces that one message can hold each, with their code blocks whole."""
        return split_markdown(text, LONGEST)

    async def send(self, reply: Outgoing) -> None:
        """Send one message; one that is sent again is not there twice for some minutes."""
        await self._api.send(_channel_of(reply.address), reply.text, id=reply.id)

    async def show_work(self, address: str) -> None:
        """Show that the bot is typing."""
        with contextlib.suppress(Retryable, Undeliverable):
            await self._api.show_typing(_channel_of(address))

    # -- listening ---------------------------------------------------------------------------

    async def listen(self, take: Take) -> None:
        """Listen to the gateway for ever, one replica at a time."""

        def make_backlog() -> Backlog:
            return Backlog(MessageIntake(self, take, name=name_of(self)), self._api, self._marks)

        async with TaskWatcher(log_failure) as tasks:
            if self._public_key is not None:
                tasks.start(self._offer_commands(), f"commands of {name_of(self)}")
            await self._follower.follow(make_backlog)

    async def _offer_commands(self) -> None:
        """Have Discord offer our commands; every replica asks for the same."""
        await retry(
            lambda: self._api.offer(COMMANDS),
            on=(Retryable, Undeliverable),
            pauses=Pauses(_AGAIN, _LONGEST_PAUSE, heeded=True),
            # No limit: without them nobody finds the commands in Discord's menu.
            patience=None,
            report=OutageLog(log, "%s has no commands yet: %s", name_of(self)).failed,
        )

    def count(self, trouble: ChannelFailure) -> None:
        """Count what went wrong with a message."""
        self._troubles.add(trouble, channel=name_of(self))

    def _skip(self, error: Unreadable) -> None:
        self.count(ChannelFailure.UNREADABLE)
        log.warning("%s: an event is skipped: %s", name_of(self), error)


def _channel_of(address: str) -> int:
    number = number_of(address)
    if number is None:
        raise Undeliverable("the address of the reply is no channel of Discord")
    return number
