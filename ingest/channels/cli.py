"""The command line: `turnstream chat`, let in by a bearer token, which reads the reply itself.

There is one for each agent, without configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

from ingest.channels.base import (
    Channel,
    ChannelMessage,
    Outgoing,
    PushedMessages,
    PushRequest,
    Take,
    Undeliverable,
)
from ingest.channels.making import ChannelDependencies
from sessions import times
from sessions.access.tokens import TokenScope, TokenVerifier
from sessions.errors import AccessRefused
from sessions.ids import derived_id
from sessions.strict_json import parse_json
from sessions.web.authentication import authenticate, require
from sessions.web.rejections import BrokenPayload

_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# Who writes on a command line, as upstream names them in session keys.
_USER: Final = "user"


def terminals(parts: ChannelDependencies) -> Iterator[Channel]:
    """The command lines, one for each agent."""
    for agent in parts.settings.agents:
        yield CliChannel(agent, parts.tokens)


class CliChannel:
    """A person at a terminal, who talks with the agent that the alias names."""

    type: str = "cli"
    delivers: bool = False

    def __init__(self, alias: str, tokens: TokenVerifier) -> None:
        self.alias = alias
        self._tokens = tokens

    async def open(self, request: PushRequest) -> PushedMessages:
        """The line of `{"id", "content", "room"}`; the id is the client's own."""
        principal = await authenticate(self._tokens, request.headers)
        require(principal, TokenScope.SEND)
        if principal.agent not in (None, self.alias):
            raise AccessRefused(f"this token is not agent {self.alias}'s")
        return PushedMessages([self._message(parse_json(request.body))])

    def _message(self, document: Any) -> ChannelMessage:
        found = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
        line, content, room = found.get("id"), found.get("content"), found.get("room", _USER)
        if not isinstance(line, str) or not _ID.fullmatch(line):
            raise BrokenPayload('"id" must be a text of A-Z a-z 0-9 . _ : -')
        if not isinstance(content, str) or not content.strip():
            raise BrokenPayload('"content" must be a text that is not empty')
        if not isinstance(room, str) or not room.strip():
            raise BrokenPayload('"room" must be a text that is not empty, if it is given')
        return ChannelMessage(
            id=derived_id("cli", self.alias, room, line),
            text=content,
            sender=_USER,
            target=room,
            address=room,
            at=times.now(),
        )

    def split(self, text: str) -> Sequence[str]:
        """A terminal takes anything."""
        return [text]

    async def send(self, reply: Outgoing) -> None:
        """Never: the client reads what is stored."""
        raise Undeliverable("the command line reads replies itself")

    async def show_work(self, address: str) -> None:
        """There is no sign for that."""

    async def listen(self, take: Take) -> None:
        """Nothing to fetch: lines are posted."""


__all__ = ["CliChannel", "terminals"]
