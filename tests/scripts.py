"""Random events, dense enough that they meet: few sessions, few ids, every rule within reach."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from tests.events import (
    Fields,
    context,
    delete,
    event,
    hand_over,
    owner,
    rename,
    reply,
    reset,
    rollback,
    state,
    user,
)

KEYS: Final = ("a", "b", "c")
WORDS: Final = ("red", "Gr\u00fcn", "blue sky", "\u4eca\u5929", "ok", "")
# Relative to the clock's 1 March 2026: long before, just before, and after.
_TIMES: Final = ("2025-12-31T00:00:00Z", "2026-02-28T23:00:00+01:00", "2027-01-01T00:00:00Z")
# How far ahead of the ids that were given out a target or turn may be.
_AHEAD: Final = 3


def numbered(number: int) -> str:
    """The id of the event of that number."""
    return f"e{number}"


@st.composite
def some_events(draw: st.DrawFn, number: int) -> list[Fields]:
    """A single event, or a turn that is taken back; their ids count on from the number."""
    if draw(_ONE_IN_THREE):
        return draw(_turn(number))
    if draw(_ONE_IN_TWENTY):
        return [hand_over(numbered(number), *draw(st.permutations(("x", "y"))))]
    near = st.integers(number - 3, number - 1) | st.integers(number - 6, number + _AHEAD)
    fields = draw(draw(_MAKERS)(numbered(number), near.map(numbered)))
    sides = draw(_SIDES) if draw(_ONE_IN_THREE) else {}
    if draw(_ONE_IN_THREE):
        sides = {**sides, "turn": draw(near.map(numbered))}
    return [{**fields, "session": draw(_KEYS), **sides}]


@st.composite
def _turn(draw: st.DrawFn, number: int) -> list[Fields]:
    """A question, what may come between, and its rollback, mostly in this order."""
    first, second, third = map(numbered, range(number, number + 3))
    turn = draw(st.sampled_from(({}, {"turn": first})))
    closing = draw(st.sampled_from(({}, {"close_with": "closed"})))
    between = draw(st.sampled_from((reply(second, **turn), user(second), reset(second))))
    events = [user(first, **turn), between, rollback(third, target=first, **closing)]
    session = draw(_KEYS)
    ordered = draw(st.permutations(events)) if draw(_ONE_IN_THREE) else events
    return [{**fields, "session": session} for fields in ordered]


_ONE_IN_THREE: Final = st.sampled_from((False, False, True))
_ONE_IN_TWENTY: Final = st.sampled_from((*[False] * 19, True))
_KEYS: Final = st.sampled_from((*KEYS[:1] * 6, *KEYS))
_SIDES: Final = st.one_of(
    st.fixed_dictionaries({"agent": st.sampled_from(("x", "x", "x", "y"))}),
    # What an entry point publishes for an agent, in its own session or in another one's.
    st.sampled_from(
        (
            {"by": "x", "agent": "x"},
            {"by": "x", "agent": "x", "channel": "tg.1"},
            {"by": "y", "agent": "y"},
            {"by": "y", "agent": "x"},
            {"by": "y", "agent": "y", "if_exists": "1"},
        )
    ),
    st.fixed_dictionaries({"channel": st.sampled_from(("tg.1", "tg.2"))}),
    st.fixed_dictionaries({"at": st.sampled_from(_TIMES)}),
    st.just({"if_exists": "1"}),
)
_TEXTS: Final = st.sampled_from(WORDS)
_STATES: Final = st.sampled_from(("idle", "running", "error"))


def _append(event_id: str, near: st.SearchStrategy[str]) -> st.SearchStrategy[Fields]:
    roles = st.sampled_from((user, user, reply))
    return st.builds(lambda make, text: make(event_id, text), roles, _TEXTS)


def _append_with_state(event_id: str, near: st.SearchStrategy[str]) -> st.SearchStrategy[Fields]:
    roles = st.sampled_from((user, reply))
    return st.builds(lambda make, text, to: make(event_id, text, state=to), roles, _TEXTS, _STATES)


def _answer(event_id: str, near: st.SearchStrategy[str]) -> st.SearchStrategy[Fields]:
    return st.builds(lambda text, turn: reply(event_id, text, turn=turn), _TEXTS, near)


def _rollback(event_id: str, near: st.SearchStrategy[str]) -> st.SearchStrategy[Fields]:
    return st.builds(lambda target: rollback(event_id, target=target), near)


def _rollback_with_closing(
    event_id: str, near: st.SearchStrategy[str]
) -> st.SearchStrategy[Fields]:
    return st.builds(
        lambda target, text: rollback(event_id, target=target, close_with=text), near, _TEXTS
    )


def _rollback_by_content(event_id: str, near: st.SearchStrategy[str]) -> st.SearchStrategy[Fields]:
    return st.builds(
        lambda text, rest: rollback(event_id, expect=text, **rest),
        _TEXTS,
        st.fixed_dictionaries({}, optional={"close_with": _TEXTS}),
    )


def _other(event_id: str, near: st.SearchStrategy[str]) -> st.SearchStrategy[Fields]:
    return st.one_of(
        st.builds(lambda name: rename(event_id, name), _TEXTS),
        st.builds(lambda to: state(event_id, to), _STATES),
        st.just(context(event_id)),
    )


def _giving(event_id: str, near: st.SearchStrategy[str]) -> st.SearchStrategy[Fields]:
    agents = st.sampled_from(("x", "y", ""))
    one = st.builds(lambda to: owner(event_id, to), agents)
    expecting = st.builds(lambda to, of: owner(event_id, to, expect_agent=of), agents, agents)
    # `session` is put over it, and then it is about one session like the others.
    return st.one_of(one, expecting)


def _ending(event_id: str, near: st.SearchStrategy[str]) -> st.SearchStrategy[Fields]:
    return st.sampled_from((reset(event_id), delete(event_id)))


def _bad(event_id: str, near: st.SearchStrategy[str]) -> st.SearchStrategy[Fields]:
    return st.sampled_from(
        (
            event("shout", event_id, content="red"),
            {**user(event_id, "red"), "v": "2"},
            {**user(event_id), "content": b"\xff"},
            {**user(event_id), "id": b"not an id"},
        )
    )


_MAKERS: Final = st.sampled_from(
    (
        *(_append, _append, _append, _append_with_state, _answer, _answer),
        *(_rollback, _rollback_with_closing, _rollback_by_content, _other, _ending, _bad),
        _giving,
    )
)


@st.composite
def scripts(draw: st.DrawFn) -> list[Fields]:
    """A stream's worth of events, some of which come more than once or in two versions."""
    events: list[Fields] = []
    number = 0
    for _ in range(draw(st.integers(1, 25))):
        if events and draw(_ONE_IN_THREE):
            events.append(draw(again(events)))
        else:
            fresh = draw(some_events(number))
            number += len(fresh)
            events += fresh
    return events


@st.composite
def again(draw: st.DrawFn, events: list[Fields]) -> Fields:
    """One of these events once more: the same, with other side fields, or with another payload."""
    fields = draw(st.sampled_from(events[-12:]))
    others: tuple[Fields, ...] = ({}, {"channel": "tg.9"}, {"content": "other"}, {"by": "y"})
    return {**fields, **draw(st.sampled_from(others))}
