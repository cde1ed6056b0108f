"""What an event needs by its type, beyond fields that are right each by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sessions.models import Event, EventType
from sessions.wire.fields import invalid

# Found once: an attribute of an enumeration costs as much as a call.
_DEAD_EVENT: Final = EventType.DEAD
_OWNER_EVENT: Final = EventType.OWNER


def complete(event: Event) -> Event:
    """The event, after a look at what its type needs; raises InvalidEvent if it lacks any of it."""
    kind = event.type
    # Not so by its type: the values came from a list.
    if kind is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise invalid("type", "is missing")
    if event.id is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise invalid("id", "is missing")
    if event.agent == "" and kind is not _OWNER_EVENT:
        event = event._replace(agent=None)
    if kind is _DEAD_EVENT:
        event = event._replace(session="")
    elif not event.session and kind is not _OWNER_EVENT:
        raise invalid("session", "is missing")
    check = _CHECKS.get(kind)
    if check is not None:
        check(event)
    return event


def _check_append(event: Event) -> None:
    if event.role is None:
        raise invalid("role", "is missing")
    if event.content is None:
        raise invalid("content", "is missing")


def _check_rollback(event: Event) -> None:
    if (event.target is None) == (event.expect is None):
        raise invalid("target", "or expect is needed on a rollback, exactly one of them")


def _check_rename(event: Event) -> None:
    if event.name is None:
        raise invalid("name", "is missing; an empty one clears the name")


def _check_state(event: Event) -> None:
    if event.state is None:
        raise invalid("state", "is missing")


def _check_owner(event: Event) -> None:
    if event.agent is None:
        raise invalid("agent", "is missing; an empty one leaves the session without an owner")
    if not event.session and not event.expect_agent:
        raise invalid("session", "is missing; without it expect_agent names the owner so far")


def _check_dead(event: Event) -> None:
    if event.action is None:
        raise invalid("action", "is missing")
    if event.target is None:
        raise invalid("target", "is missing; it is the dead letter's id")


_CHECKS: Final[dict[EventType, Callable[[Event], None]]] = {
    EventType.APPEND: _check_append,
    EventType.ROLLBACK: _check_rollback,
    EventType.RENAME: _check_rename,
    EventType.STATE: _check_state,
    EventType.OWNER: _check_owner,
    EventType.DEAD: _check_dead,
}
