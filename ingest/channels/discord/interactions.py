"""Interactions: what Discord posts when somebody uses one of the bot's commands."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, Final

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey
from pydantic import ValidationError

from ingest.channels.base import ChannelMessage, PushedMessages, PushRequest
from ingest.channels.commands import ChatCommand
from ingest.channels.discord.messages import Id, Listening, PayloadPart, User
from sessions.errors import ConfigError
from sessions.strict_json import parse_json
from sessions.web.rejections import BrokenPayload, OldTimestamp, WrongSignature

# What the commands say of themselves in Discord's menu, by their names.
COMMANDS: Final[Mapping[str, str]] = {
    ChatCommand.NEW: "Start the conversation again",
    ChatCommand.STOP: "Stop the answer that is being written",
}
# What the person reads who used one. Nobody else sees it.
_DONE: Final = {
    ChatCommand.NEW: "The conversation starts again.",
    ChatCommand.STOP: "The answer stops.",
}
_NOT_ALLOWED: Final = "You may not use this here."
_UNKNOWN: Final = "This command is not known."
# Seconds that a signature is good for, into the future too.
TOLERANCE: Final = 300
# Kinds of interactions, of their answers, and the flag of an answer that only one person sees.
_PING: Final = 1
_COMMAND: Final = 2
_PONG: Final = {"type": 1}
_MESSAGE: Final = 4
_FOR_ONE: Final = 64


class _Member(PayloadPart):
    user: User


class _Command(PayloadPart):
    name: str


class _Interaction(PayloadPart):
    id: Id
    type: int
    channel_id: Id | None = None
    guild_id: Id | None = None
    user: User | None = None
    member: _Member | None = None
    data: _Command | None = None


def public_key_of(text: str, where: str) -> VerifyKey:
    """The application's public key; raises ConfigError for what cannot be one."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise ConfigError(
            f"{where} must be the Public Key of the application's General Information: "
            "64 digits of 0-9 and a-f"
        )
    return VerifyKey(bytes.fromhex(text))


def open_interaction(request: PushRequest, key: VerifyKey, listening: Listening) -> PushedMessages:
    """What an interaction asks for. Raises WrongSignature, OldTimestamp or BrokenPayload."""
    _verify(request, key)
    asked = _read(parse_json(request.body))
    if asked.type == _PING:
        return PushedMessages([], _PONG)
    user = asked.user or (asked.member.user if asked.member is not None else None)
    if asked.type != _COMMAND or asked.data is None or asked.channel_id is None or user is None:
        raise BrokenPayload("this interaction is neither a ping nor a command in a channel")
    if asked.data.name not in _DONE:
        return PushedMessages([], _told(_UNKNOWN))
    if not listening.may_write(user) or not listening.is_place(asked.channel_id, asked.guild_id):
        return PushedMessages([], _told(_NOT_ALLOWED))
    command = ChatCommand(asked.data.name)
    message = _message(asked.id, asked.channel_id, user, command, listening)
    return PushedMessages([message], _told(_DONE[command]))


def _message(
    id: str, channel: str, user: User, command: ChatCommand, listening: Listening
) -> ChannelMessage:
    return listening.channel_message(id=id, channel=channel, user=user, text=f"/{command}")


def _verify(request: PushRequest, key: VerifyKey) -> None:
    timestamp = request.headers.get("x-signature-timestamp", "")
    signature = request.headers.get("x-signature-ed25519", "")
    if not re.fullmatch(r"[0-9]{1,12}", timestamp) or not re.fullmatch(
        r"[0-9a-fA-F]{128}", signature
    ):
        raise WrongSignature("X-Signature-Timestamp and X-Signature-Ed25519 must be there")
    try:
        key.verify(timestamp.encode() + request.body, bytes.fromhex(signature))
    except BadSignatureError:
        raise WrongSignature("X-Signature-Ed25519 is not this application's") from None
    if abs(time.time() - int(timestamp)) > TOLERANCE:
        raise OldTimestamp(f"X-Signature-Timestamp is more than {TOLERANCE} s away from now")


def _read(document: Any) -> _Interaction:
    try:
        return _Interaction.model_validate(document)
    except ValidationError:
        raise BrokenPayload("this is not an interaction of Discord") from None


def _told(text: str) -> dict[str, Any]:
    return {"type": _MESSAGE, "data": {"content": text, "flags": _FOR_ONE}}
