"""What one agent has under a session key, as generated: the only thing in which two worlds differ.

Under some keys it has a session in both worlds, with other content, owner, state, ids and name.
Under others it has none in both: none ever, or one that was deleted. Under the rest it has one in
one of the two, so that nothing that another agent does there may make a session: that a key is
taken may be learned by making it, and by nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any, Final

from sessions import times
from sessions.ids import new_id
from sessions.models import Event, EventType

WORDS: Final = ("swordfish", "kettle", "ärger", "東京タワー", "pin 1234", "invoice")
_AT: Final = times.parse("2026-05-01T12:00:00+00:00")


class Pair(StrEnum):
    """In which of the two worlds the key is taken."""

    TAKEN = "taken"
    FREE = "free"
    EITHER = "either"


@dataclass(frozen=True)
class Spot:
    """A session key, the ids that its owner may have used there, and who may make it."""

    key: str
    pair: Pair
    # Whether a session under this key is refused to all but its channel's agent.
    reserved: bool

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the owner's events under this key."""
        return tuple(f"{self.key}:{number}".replace(" ", "") for number in range(4))

    @property
    def claimable(self) -> bool:
        """Whether a session here that has no owner becomes the other agent's with a message."""
        return self.key.startswith("cli_")

    @property
    def creatable(self) -> bool:
        """Whether the other agent may try to make a session here."""
        return self.reserved or self.pair is not Pair.EITHER


def make_spot(rng: Random, name: str, owner: str, actor: str) -> Spot:
    """A key of one of the kinds that there are."""
    pair = rng.choice([Pair.TAKEN, Pair.FREE, Pair.EITHER, Pair.EITHER])
    form, reserved = rng.choice(
        [
            ("gw_{}", False),
            ("gw_{}", False),
            ("{}", False),
            (f"webhook_{owner}_{{}}", True),
            (f"cli_{actor}_{{}}_user", False),
        ]
    )
    return Spot(form.format(name), pair, reserved)


def scene(rng: Random, spot: Spot, owner: str, *, first: bool) -> list[Event]:
    """What the owner publishes under the key, in one of the two worlds."""
    taken = spot.pair is Pair.TAKEN or (spot.pair is Pair.EITHER and first)
    if not taken and rng.random() < 0.4:
        return []
    own = _belonging(rng, owner, spot)
    events = _session(rng, spot, own)
    if not taken:
        by_owner = own if "agent" in own and rng.random() < 0.5 else {}
        events.append(Event(new_id(), EventType.DELETE, spot.key, **by_owner))
    return events


def _signed(rng: Random, owner: str) -> dict[str, Any]:
    """By a token of the owner's, by one of its channels, or by an operator."""
    return rng.choice([{"agent": owner, "by": owner}, {"agent": owner}, {"agent": owner}])


def _belonging(rng: Random, owner: str, spot: Spot) -> dict[str, Any]:
    """Whose the session is: the agent's by name, by its channel, or nobody's."""
    if spot.claimable:
        return _signed(rng, owner)
    routing = {"channel": f"webhook.{owner}", "room": "r", "sender": "ada"}
    return rng.choice(
        [_signed(rng, owner), {**_signed(rng, owner), **routing}, routing, {"room": "nobody's"}]
    )


def _session(rng: Random, spot: Spot, own: dict[str, Any]) -> list[Event]:
    events = [Event(new_id(), EventType.CONTEXT, spot.key, **own)]
    events += _messages(rng, spot, own)
    if rng.random() < 0.4:
        name = rng.choice(WORDS)
        events.append(Event(new_id(), EventType.RENAME, spot.key, name=name, **own))
    if rng.random() < 0.3:
        state = rng.choice(["running", "error", "idle"])
        events.append(Event(new_id(), EventType.STATE, spot.key, state=state, **own))
    return events + _troubles(rng, spot, own)


def _messages(rng: Random, spot: Spot, own: dict[str, Any]) -> list[Event]:
    events: list[Event] = []
    for number in range(rng.randrange(4)):
        turn = spot.ids[number]
        fields = {"turn": turn, "content": f"{rng.choice(WORDS)} {number}", **own}
        at = _AT + rng.randrange(1000) * times.SECOND
        events.append(Event(turn, EventType.APPEND, spot.key, role="user", at=at, **fields))
        if rng.random() < 0.7:
            reply = {**fields, "content": f"re: {rng.choice(WORDS)}"}
            events.append(
                Event(f"{turn}:reply", EventType.APPEND, spot.key, role="assistant", **reply)
            )
    return events


def _troubles(rng: Random, spot: Spot, own: dict[str, Any]) -> list[Event]:
    """A message taken back, one that comes, one that conflicts, a duplicate, a new beginning."""
    picked = rng.random()
    target = rng.choice(spot.ids)
    if picked < 0.15:
        return [Event(new_id(), EventType.ROLLBACK, spot.key, target=target, **own)]
    if picked < 0.3:
        return [Event(target, EventType.APPEND, spot.key, role="user", content="else", **own)]
    if picked < 0.4:
        return [Event(target, EventType.RENAME, spot.key, name="x", **own)] * 2
    if picked < 0.5:
        return [Event(new_id(), EventType.RESET, spot.key, **own)]
    return []


__all__ = ["WORDS", "Pair", "Spot", "make_spot", "scene"]
