"""What users ask of the channel itself, in the same words on every channel."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

_WORD: Final = re.compile(r"/(new|clear|stop)(?=\s|$)", re.IGNORECASE)


class ChatCommand(StrEnum):
    """A message that no agent is asked about."""

    NEW = "new"
    """Start the session again; an answer that is under way is stopped."""
    STOP = "stop"
    """Stop what is being answered."""


def command_of(text: str) -> ChatCommand | None:
    """The command that the text is: `/new` with anything behind it, bare `/clear` or `/stop`.

    With other words `/clear` and `/stop` are messages. So is what names somebody (`/new@bot`): a
    channel whose platform has such names takes ours away first, and knows who else is meant.
    """
    text = text.strip()
    found = _WORD.match(text)
    if found is None:
        return None
    word = found[1].lower()
    if word == "new":
        return ChatCommand.NEW
    if found.end() < len(text):
        return None
    return ChatCommand.STOP if word == "stop" else ChatCommand.NEW
