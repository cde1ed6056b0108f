"""Entries say the same whether they are decoded together or one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sessions import wire
from sessions.models import Poison, RawEntry, StreamId

# Values that are right in some field, in another, or nowhere.
VALUES = st.sampled_from(
    [
        *(b"1", b"append", b"dead", b"replay", b"user", b"s", b"e1", b"idle", b"", b"\xff", b"a b"),
        *(b"2026-03-01T12:00:00Z", b"x" * 200, b"x" * 3000),
    ]
)
NAMES = [
    "v",
    "id",
    "type",
    "session",
    "role",
    "content",
    "target",
    "action",
    "state",
    "at",
    "agent",
]


@st.composite
def entries(draw: st.DrawFn) -> list[RawEntry]:
    """A run of entries of a few shapes, most of them right."""
    found: list[RawEntry] = []
    for number in range(draw(st.integers(1, 30))):
        fields = {
            "v": b"1",
            "id": b"e%d" % number,
            "type": b"append",
            "session": b"s",
            "role": b"user",
            "content": b"hello",
        }
        if draw(st.booleans()):
            name = draw(st.sampled_from([*NAMES, "stranger"]))
            fields[name] = draw(VALUES)
        if draw(st.integers(0, 9)) == 0:
            del fields[draw(st.sampled_from([*fields]))]
        flat = [part for name, value in fields.items() for part in (name.encode(), value)]
        if draw(st.integers(0, 9)) == 0:
            flat += [b"id", b"twice"]
        found.append(RawEntry(StreamId(number + 1, 0), flat))
    return found


@given(raws=entries())
def test_decoded_together_or_singly_is_the_same(raws: list[RawEntry]) -> None:
    together = wire.decode_all(raws, max_content=2000)
    assert together == [wire.decode(raw, max_content=2000) for raw in raws]
    assert [entry.raw for entry in together] == raws


def test_one_wrong_entry_among_many_alike_is_the_only_poison() -> None:
    fields = [b"v", b"1", b"type", b"append", b"session", b"s", b"role", b"user", b"content", b"x"]
    raws = [RawEntry(StreamId(n, 0), [*fields, b"id", b"e%d" % n]) for n in range(1, 300)]
    raws[211] = RawEntry(raws[211].stream_id, [*fields, b"id", b"not an id"])
    poisoned = [
        (number, entry.body.reason)
        for number, entry in enumerate(wire.decode_all(raws))
        if isinstance(entry.body, Poison)
    ]
    assert poisoned == [(211, "invalid_field")]
