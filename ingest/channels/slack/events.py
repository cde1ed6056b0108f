"""From what Slack brought, posted or by a socket, to a message that a person wrote."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from ingest.channels.base import Unreadable
from ingest.channels.slack.text import is_mentioned, plain, without_mention
from sessions import times

# Subtypes of what people say. All others are of bots, of edits and deletions, or Slack's own.
_SPOKEN: Final = frozenset({None, "", "file_share", "me_message", "thread_broadcast"})
# Slack's own bot, which has no bot_id.
_SLACKBOT: Final = "USLACKBOT"
_TS: Final = re.compile(r"([0-9]{1,12})\.([0-9]{1,9})", re.ASCII)
_MICROSECONDS: Final = 6


class _SlackPart(BaseModel):
    """A part as Slack documents it; what is not asked for may be anything."""

    model_config = ConfigDict(strict=True, extra="ignore")


class _Installation(_SlackPart):
    user_id: str | None = None
    is_bot: bool | None = None


class _File(_SlackPart):
    name: str | None = None
    title: str | None = None


class _Kind(_SlackPart):
    type: str
    subtype: str | None = None


class _Announced(_SlackPart):
    event: _Kind


class _Event(_Kind):
    hidden: bool | None = None
    channel: str | None = None
    channel_type: str | None = None
    user: str | None = None
    bot_id: str | None = None
    text: str | None = None
    ts: str | None = None
    thread_ts: str | None = None
    files: list[_File] | None = None


class _Callback(_SlackPart):
    team_id: str
    api_app_id: str
    authorizations: list[_Installation] | None = None
    event: _Event

    @property
    def bot(self) -> str | None:
        """The app's own user, if Slack names it."""
        return next((one.user_id for one in self.authorizations or () if one.is_bot), None)


@dataclass(frozen=True, slots=True)
class SlackMessage:
    """What a person wrote. `thread` is the first message of the thread that it stands in."""

    team: str
    app: str
    channel: str
    ts: str
    thread: str | None
    user: str
    text: str
    is_direct: bool
    is_to_us: bool

    @property
    def at(self) -> int:
        """When it was written, in microseconds; now, if it says what no calendar shows."""
        seconds, fraction = self.ts.split(".")
        part = fraction[:_MICROSECONDS].ljust(_MICROSECONDS, "0")
        moment = int(seconds) * times.SECOND + int(part)
        return moment if times.is_showable(moment) else times.now()


def read_message(payload: Mapping[str, Any]) -> SlackMessage | None:
    """The message in an event; None if it is no message of a person.

    Raises Unreadable, which shows nothing of it.
    """
    try:
        # The fields of other events have the same names, and other values.
        if not _may_be_spoken(_Announced.model_validate(payload).event):
            return None
        callback = _Callback.model_validate(payload)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise Unreadable(f"its {where} cannot be read") from None
    return _message(callback) if _is_spoken(callback) else None


def _may_be_spoken(event: _Kind) -> bool:
    return event.type in ("message", "app_mention") and event.subtype in _SPOKEN


def _is_spoken(callback: _Callback) -> bool:
    """Whether a person said it, and now."""
    event = callback.event
    # What our own app shares as a file has no bot_id.
    is_of_a_person = event.user not in (None, "", _SLACKBOT, callback.bot)
    return is_of_a_person and not event.bot_id and not event.hidden


def _message(callback: _Callback) -> SlackMessage:
    event = callback.event
    if not event.channel or not _TS.fullmatch(event.ts or ""):
        raise Unreadable("its channel or ts cannot be read")
    if event.thread_ts and not _TS.fullmatch(event.thread_ts):
        raise Unreadable("its thread_ts cannot be read")
    is_to_us, text = _addressed(callback)
    return SlackMessage(
        team=callback.team_id,
        app=callback.api_app_id,
        channel=event.channel,
        ts=event.ts or "",
        thread=event.thread_ts or None,
        user=event.user or "",
        text="\n".join(
            [*([text] if text.strip() else []), *(_shown(file) for file in event.files or ())]
        ),
        is_direct=event.channel_type == "im",
        is_to_us=is_to_us,
    )


def _addressed(callback: _Callback) -> tuple[bool, str]:
    """Whether the bot is mentioned, and the text without the mention that it begins with."""
    event, text = callback.event, callback.event.text or ""
    ours = callback.bot
    if not ours:
        return event.type == "app_mention", plain(text)
    is_to_us = event.type == "app_mention" or is_mentioned(text, ours)
    return is_to_us, plain(without_mention(text, ours))


def _shown(file: _File) -> str:
    """What stands for a file. One that was deleted or is too old has no name."""
    name = file.name or file.title
    return f"[File: {plain(name)}]" if name else "[File]"
