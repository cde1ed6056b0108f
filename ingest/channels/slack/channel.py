"""A Slack app: its messages are posted to us (`http`) or come by a socket (`socket`)."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

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
from ingest.channels.commands import command_of
from ingest.channels.failure_counts import ChannelFailure, ChannelFailures
from ingest.channels.pushed_json import pushed_object
from ingest.channels.slack.api import SlackApi
from ingest.channels.slack.events import SlackMessage, read_message
from ingest.channels.slack.names import SlackNames
from ingest.channels.slack.signing import verify
from ingest.channels.slack.socket import SocketMode
from ingest.channels.slack.text import mrkdwn
from ingest.channels.splitting import split_markdown
from sessions.errors import Retryable
from sessions.ids import derived_id
from sessions.web.rejections import BrokenPayload, NotFound

log = logging.getLogger(__name__)

# UTF-16 units of one message, as Slack advises. It cuts a message off at 40,000 characters, which
# so many never become, even if each is escaped.
LONGEST: Final = 4000
# What people see while the answer is being worked on.
_STATUS: Final = "is thinking…"
# The type of the metadata by which a reply can be recognised.
_EVENT_TYPE: Final = "turnstream_reply"


@dataclass(frozen=True, slots=True)
class SlackRules:
    """Which messages are ours, and which session they belong to."""

    allowed: frozenset[str]
    channels: frozenset[str]
    mention_only: bool
    thread_replies: bool
    by_channel: bool


class SlackChannel:
    """One app in one workspace."""

    type: str = "slack"
    delivers: bool = True

    def __init__(
        self,
        alias: str,
        api: SlackApi,
        rules: SlackRules,
        *,
        signing_secret: str | None = None,
        socket: SocketMode | None = None,
        troubles: ChannelFailures,
    ) -> None:
        self.alias = alias
        self._api = api
        self._rules = rules
        self._signing_secret = signing_secret
        self._socket = socket
        self._troubles = troubles
        self._names = SlackNames(api)

    # -- in ----------------------------------------------------------------------------------

    async def open(self, request: PushRequest) -> PushedMessages:
        """The message of a signed event, or the answer to Slack's question whether we are here."""
        if self._signing_secret is None:
            raise NotFound(f"the channel slack.{self.alias} takes its messages by Socket Mode")
        verify(request, self._signing_secret)
        # The event came from Slack, which posts it again if it is refused.
        try:
            payload = pushed_object(request.body)
            if payload.get("type") == "url_verification":
                return PushedMessages([], answer={"challenge": _challenge_of(payload)})
            incoming = await self.message_in(payload)
        except Unreadable as error:
            self.count(ChannelFailure.UNREADABLE)
            log.warning("slack.%s: an event is skipped: %s", self.alias, error)
            incoming = None
        return PushedMessages([incoming] if incoming is not None else [], leave_out=True)

    async def message_in(self, payload: Mapping[str, Any]) -> ChannelMessage | None:
        """What somebody who may write to the bot said to it; None if nobody did.

        Raises Unreadable.
        """
        if payload.get("type") != "event_callback":
            self._note(payload.get("type"))
            return None
        message = read_message(payload)
        if message is None:
            self._note(payload["event"]["type"])
            return None
        return await self._incoming(message) if self._is_ours(message) else None

    def _note(self, kind: object) -> None:
        """Say aloud what Slack tells an app about itself."""
        if isinstance(kind, str) and (told := _TOLD.get(kind)) is not None:
            log.error("slack.%s: %s", self.alias, told)

    def _is_ours(self, message: SlackMessage) -> bool:
        rules = self._rules
        if not message.is_direct:
            if rules.channels and message.channel not in rules.channels:
                return False
            if rules.mention_only and not message.is_to_us:
                return False
        if {"*", message.user} & rules.allowed:
            return bool(message.text.strip())
        log.warning("slack.%s: user %s is not in allowed_users", self.alias, message.user)
        return False

    async def _incoming(self, message: SlackMessage) -> ChannelMessage:
        shared = self._rules.by_channel and not message.is_direct
        in_thread = self._rules.thread_replies and not message.is_direct
        thread = message.thread or message.ts if in_thread else None
        # In a direct message an answer goes where the person wrote, which may be a thread.
        place = message.thread if message.is_direct else thread
        return ChannelMessage(
            # A ts counts within its channel, and several apps may read the same message.
            id=derived_id("sl", message.team, message.app, message.channel, message.ts),
            text=await self._signed(message) if shared else message.text,
            sender=message.user,
            target=message.channel,
            address=f"{message.channel}:{place}" if place else message.channel,
            at=message.at,
            thread=None if shared else thread,
            by_room=shared,
        )

    async def _signed(self, message: SlackMessage) -> str:
        """The text with its author's name, for a session that several people share."""
        if command_of(message.text):
            return message.text
        return f"{await self._names.of(message.user)}: {message.text}"

    # -- out ---------------------------------------------------------------------------------

    def split(self, text: str) -> Sequence[str]:
        """Pieces that one message can hold each, with their code blocks whole."""
        return split_markdown(text, LONGEST)

    async def send(self, reply: Outgoing) -> None:
        """Post one message. Its metadata holds the reply's id, the same for every try."""
        channel, _, thread = reply.address.partition(":")
        metadata = {"event_type": _EVENT_TYPE, "event_payload": {"id": reply.id}}
        await self._api.post(channel, mrkdwn(reply.text), thread=thread or None, metadata=metadata)

    async def show_work(self, address: str) -> None:
        """Show in a thread that the bot is thinking; elsewhere Slack has no sign for that."""
        channel, _, thread = address.partition(":")
        if thread:
            with contextlib.suppress(Retryable, Undeliverable):
                await self._api.show_status(channel, thread, _STATUS)

    # -- fetching ----------------------------------------------------------------------------

    async def listen(self, take: Take) -> None:
        """Take messages by Socket Mode for ever, one replica at a time; else return at once."""
        if self._socket is not None:
            await self._socket.listen(self, take)

    def count(self, trouble: ChannelFailure) -> None:
        """Count what went wrong with an event."""
        self._troubles.add(trouble, channel=name_of(self))


# What Slack tells an app about itself, and what to do about it.
_TOLD: Final[Mapping[str, str]] = {
    "app_rate_limited": "Slack leaves out events of this app: it had more than 30,000 in an hour, "
    "or too many of them were not answered in time",
    "app_uninstalled": "the app was uninstalled from its workspace; install it again, and set its "
    "new bot_token",
    "tokens_revoked": "tokens of the app were revoked; install it again if the bot's is among "
    "them, and set its new bot_token",
}


def _challenge_of(payload: Mapping[str, Any]) -> str:
    challenge = payload.get("challenge")
    if not isinstance(challenge, str):
        raise BrokenPayload('"challenge" must be a text')
    return challenge
