"""What a person must be told of a configuration that was read: a list of values."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class NoticeKind(StrEnum):
    """What a notice is about."""

    NO_EFFECT = "no effect"
    """A setting that is read and changes nothing."""
    OFF = "off"
    """A channel or an agent that is configured and not served, and why."""
    WARNING = "warning"
    """Something that is probably not what was meant."""


class ConfigNotice(NamedTuple):
    """One thing to know; `where` is a section or a setting, `text` the rest of the sentence."""

    kind: NoticeKind
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


__all__ = ["ConfigNotice", "NoticeKind"]
