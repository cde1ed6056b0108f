"""What an import did, for the person who asked for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

# Remarks and examples that are kept of one source; all of them are counted.
_KEPT: Final = 1000


@dataclass(frozen=True, slots=True)
class Aside:
    """Something that did not come in: where it stands, and why."""

    place: str
    reason: str


@dataclass(slots=True)
class SourceReport:
    """What came in from one source. `known` messages were there already, `aside` stayed out."""

    source: str
    kind: str
    unchanged: bool = False
    sessions: int = 0
    messages: int = 0
    known: int = 0
    aside: int = 0
    reasons: dict[str, int] = field(default_factory=dict[str, int])
    examples: list[Aside] = field(default_factory=list[Aside])
    remarks: list[str] = field(default_factory=list[str])
    kept_in: str | None = None

    def set_aside(self, place: str, reason: str, count: int = 1) -> None:
        """Count what stays out."""
        self.aside += count
        self.reasons[reason] = self.reasons.get(reason, 0) + count
        if len(self.examples) < _KEPT:
            self.examples.append(Aside(place, reason))

    def remark(self, text: str) -> None:
        """Note what a person should know though nothing is lost."""
        if len(self.remarks) < _KEPT:
            self.remarks.append(text)


# Is told how many more messages were looked at.
Advance = Callable[[int], None]
