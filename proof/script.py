"""Sessions as seeded scripts: what one conversation publishes, step by step.

The texts are few on purpose, so that only the ids tell messages apart; and everything that the
contract has a rule for comes up: late replies, redeliveries, conflicting ids, poison.
"""

from __future__ import annotations

import random
from typing import Final

from proof.history import Fields, Step

_TEXTS: Final = ("ok", "yes", "no", "again?", "please", "Grüße", "好的", "line\nbreak", "")
# Session keys: pairs that are one file name once sanitised or case-folded, and a very long one.
_KEYS: Final = ("{0}.{1}", "{0}_{1}", "{0}/Case/{1}", "{0}/case/{1}", "{0} ключ {1}", "{0}" * 20)
# Shares: of texts that are all the same, of replies to the latest question, and of rollbacks of it.
_SAME_TEXT: Final = 0.5
_REPLY_TO_LATEST: Final = 0.8
_ROLLBACK_OF_LATEST: Final = 0.5


def session_key(tag: str, number: int) -> str:
    """The key of the session with that number; `tag` tells publishers apart."""
    shape = _KEYS[number % len(_KEYS)]
    return shape.format(tag, number // len(_KEYS)) + ("" if "{1}" in shape else str(number))


class SessionScript:
    """The steps of one session. `plain` scripts go to Redis unchecked and may hold poison."""

    def __init__(self, key: str, tag: str, chance: random.Random, *, plain: bool) -> None:
        self.key = key
        self._tag = tag
        self._chance = chance
        self._number = 0
        self._users: list[str] = []
        self._sent: list[Step] = []
        self._overtaken: str | None = None
        self._moves = {
            self._user: 40,
            self._reply: 30,
            self._take_back: 8,
            self._take_back_early: 1,
            self._take_last: 2,
            self._rename: 3,
            self._reset: 1,
            self._delete: 2,
            self._again: 6,
            self._conflict: 1,
            self._poison: 2 if plain else 0,
        }

    @property
    def length(self) -> int:
        """Steps so far."""
        return len(self._sent)

    def next(self) -> Step:
        """The next step; the script counts on its being published."""
        if not self._sent:
            step = self._user()
        else:
            [move] = self._chance.choices([*self._moves], [*self._moves.values()])
            step = move()
        self._sent.append(step)
        return step

    def invalid(self) -> Step:
        """A step that every entry point must refuse; not part of the script."""
        return Step(self._fields("append", role="user", content="x" * 20, at="yesterday"))

    def _fields(self, event_type: str, **fields: str) -> Fields:
        self._number += 1
        event_id = f"{self._tag}:{self._number}"
        return {"v": "1", "id": event_id, "type": event_type, "session": self.key, **fields}

    def _user(self) -> Step:
        fields = self._fields("append", role="user", content=self._text())
        if self._overtaken is not None:
            fields["id"], self._overtaken = self._overtaken, None
        self._users.append(fields["id"])
        return Step(fields)

    def _text(self) -> str:
        return _TEXTS[0] if self._chance.random() < _SAME_TEXT else self._chance.choice(_TEXTS)

    def _reply(self) -> Step:
        turn = self._target(_REPLY_TO_LATEST)
        if self._chance.random() < 0.1:
            return Step(self._fields("append", role="assistant", content=self._text()))
        role = self._chance.choice(("assistant", "assistant", "tool"))
        return Step(self._fields("append", role=role, content=self._text(), turn=turn))

    def _target(self, latest: float) -> str:
        wants_latest = self._chance.random() < latest
        return self._users[-1] if wants_latest else self._chance.choice(self._users)

    def _take_back(self) -> Step:
        target = self._target(_ROLLBACK_OF_LATEST)
        return Step(self._fields("rollback", target=target, **self._closing()))

    def _take_back_early(self) -> Step:
        """A rollback that overtakes its target: the next user append."""
        if self._overtaken is None:
            self._number += 1
            self._overtaken = f"{self._tag}:{self._number}"
        return Step(self._fields("rollback", target=self._overtaken))

    def _take_last(self) -> Step:
        return Step(self._fields("rollback", expect=self._text(), **self._closing()))

    def _closing(self) -> Fields:
        return {"close_with": "[not continued]"} if self._chance.random() < 0.3 else {}

    def _rename(self) -> Step:
        return Step(self._fields("rename", name=self._text()))

    def _reset(self) -> Step:
        return Step(self._fields("reset"))

    def _delete(self) -> Step:
        return Step(self._fields("delete"))

    def _again(self) -> Step:
        """A redelivery, as platforms make them: an earlier event, to the letter."""
        return self._chance.choice(self._sent)

    def _conflict(self) -> Step:
        """An id that is used a second time, for something else."""
        return Step(self._fields("rename", name="conflict") | {"id": self._users[0]})

    def _poison(self) -> Step:
        sick: tuple[tuple[str, Fields], ...] = (
            ("unknown_type", {"type": "shout"}),
            ("unknown_version", {"v": "9"}),
            ("invalid_field", {"role": "r" * 33}),
            ("undecodable", {"content": "\udcff\udcfe"}),
        )
        reason, change = self._chance.choice(sick)
        fields = self._fields("append", role="user", content="poison")
        return Step({**fields, **change}, poison=reason)
