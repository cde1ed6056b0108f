"""What one session must look like after a list of events: the stream contract, read once more.

Deliberately naive, and without a line shared with the backends. Only what the scripts publish is
covered: no owners, no states, no retention.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from proof.history import Fields, Step

# The fields in which two events of one id must agree.
_PAYLOAD: Final = (
    "type",
    "session",
    "role",
    "content",
    "turn",
    "target",
    "expect",
    "close_with",
    "name",
)


class Row(NamedTuple):
    """A message that is visible."""

    id: str
    role: str
    content: str
    turn: str | None


class Verdict(NamedTuple):
    """How an event ended: `applied`, `noop` or `dead`, and why."""

    outcome: str
    reason: str | None = None


@dataclass
class _Seen:
    """What is remembered of an id. `gone` says how the message went that it had made."""

    payload: tuple[str | None, ...]
    generation: int | None = None
    message: bool = False
    gone: str | None = None


@dataclass
class Expected:
    """A session as it must be. `live` is None for one that never was."""

    live: bool | None = None
    generation: int = 1
    name: str | None = None
    rows: list[Row] = field(default_factory=list)
    outcomes: dict[str, Verdict] = field(default_factory=dict)
    letters: dict[str, Counter[str]] = field(default_factory=dict)


def expected_of(steps: Iterable[Step]) -> Expected:
    """The session after these steps, all of which reached the stream in this order."""
    model = _Model()
    for step in steps:
        model.take(step)
    return model.session


class _Model:
    def __init__(self) -> None:
        self.session = Expected()
        self._seen: dict[str, _Seen] = {}
        self._suppressed: set[str] = set()
        self._closed: set[str] = set()

    def take(self, step: Step) -> None:
        fields = step.fields
        payload = tuple(fields.get(name) for name in _PAYLOAD)
        known = self._seen.get(step.id)
        if known is not None:
            if known.payload != payload:
                self._bury("id_conflict", step.id)
            return
        self._seen[step.id] = _Seen(payload)
        if step.poison is not None:
            self._bury(step.poison, step.id)
            self.session.outcomes[step.id] = Verdict("dead", step.poison)
        else:
            self.session.outcomes[step.id] = self._decide(fields)

    def _bury(self, reason: str, event_id: str) -> None:
        self.session.letters.setdefault(event_id, Counter())[reason] += 1

    def _decide(self, fields: Fields) -> Verdict:
        opens = fields["type"] == "append" and fields["role"] == "user"
        if opens and fields["id"] in self._suppressed:
            return Verdict("noop", "already_rolled_back")
        if self.session.live is False and not opens:
            return Verdict("noop", "session_deleted")
        if self._is_stale(fields):
            return Verdict("noop", "stale_turn")
        if not self.session.live and not self._may_begin(fields):
            return Verdict("noop", "no_session")
        return getattr(self, f"_{fields['type']}")(fields)

    def _is_stale(self, fields: Fields) -> bool:
        opener = self._seen.get(fields.get("turn", ""))
        return (
            opener is not None
            and opener.generation is not None
            and opener.generation < self.session.generation
        )

    def _may_begin(self, fields: Fields) -> bool:
        if "if_exists" in fields:
            return False
        return fields["type"] == "append" or (fields["type"] == "rollback" and "target" in fields)

    def _applied(self, fields: Fields) -> Verdict:
        self._seen[fields["id"]].generation = self.session.generation
        return Verdict("applied")

    def _append(self, fields: Fields) -> Verdict:
        if not self.session.live:
            self.session.live, self.session.name = True, None
        self._add(Row(fields["id"], fields["role"], fields["content"], fields.get("turn")))
        return self._applied(fields)

    def _add(self, row: Row) -> None:
        self.session.rows.append(row)
        self._seen[row.id].message = True

    def _rename(self, fields: Fields) -> Verdict:
        self.session.name = fields["name"] or None
        return self._applied(fields)

    def _reset(self, fields: Fields) -> Verdict:
        self._end_generation("reset")
        return self._applied(fields)

    def _delete(self, fields: Fields) -> Verdict:
        verdict = self._applied(fields)
        self._end_generation("deleted")
        self.session.live, self.session.name = False, None
        return verdict

    def _end_generation(self, how: str) -> None:
        for row in self.session.rows:
            self._seen[row.id].gone = how
        self.session.rows.clear()
        self.session.letters.clear()
        self.session.generation += 1

    def _rollback(self, fields: Fields) -> Verdict:
        target = fields.get("target")
        reason = self._take_back(target) if target else self._take_last(fields["expect"])
        if reason in ("answered", "not_last") and "close_with" in fields:
            self._close(fields, target)
        if reason is None or reason == "target_not_seen":
            return self._applied(fields)._replace(reason=reason)
        return Verdict("noop", reason)

    def _close(self, fields: Fields, target: str | None) -> None:
        if target is not None:
            if target in self._closed:
                return
            self._closed.add(target)
        self._add(Row(fields["id"], "assistant", fields["close_with"], target))

    def _take_back(self, target: str) -> str | None:
        seen = self._seen.get(target)
        if target in self._suppressed:
            return "already_rolled_back"
        if seen is None:
            self._suppressed.add(target)
            return "target_not_seen"
        if seen.generation is None:
            return "not_applied"
        if seen.gone is not None:
            return seen.gone
        place = next((at for at, row in enumerate(self.session.rows) if row.id == target), None)
        if place is None or self.session.rows[place].role != "user":
            return "not_user_append"
        if self._is_answered(place):
            return "answered"
        self._remove(place)
        return None

    def _take_last(self, expect: str) -> str | None:
        rows = self.session.rows
        if not rows or rows[-1].role != "user" or rows[-1].content != expect:
            return "not_last"
        self._remove(len(rows) - 1)
        return None

    def _remove(self, place: int) -> None:
        self._seen[self.session.rows[place].id].gone = "already_rolled_back"
        del self.session.rows[place]

    def _is_answered(self, place: int) -> bool:
        asked, later = self.session.rows[place], self.session.rows[place + 1 :]
        if any(row.role == "assistant" and row.turn == asked.id for row in later):
            return True
        for row in later:
            if row.role == "user":
                return False
            if row.role == "assistant" and row.turn is None:
                return True
        return False
