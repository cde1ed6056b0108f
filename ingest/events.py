"""What `POST /api/events` takes: a JSON body, checked whole before any of it is published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from sessions import wire
from sessions.access.check import Access
from sessions.access.tokens import Principal
from sessions.errors import AccessRefused, InvalidEvent
from sessions.ids import new_id
from sessions.models import Event, Reason
from sessions.strict_json import parse_json
from sessions.web.rejections import InvalidBody, RefusedEvent

MAX_EVENTS: Final = 500

_FIELDS: Final = frozenset({"v", *Event._fields})


def parse_body(
    body: bytes, *, idempotency_key: str | None = None, max_content: int = wire.DEFAULT_MAX_CONTENT
) -> list[Event]:
    """The events of a body: `{…}`, or `{"events": […]}` in which each has an id.

    A single event without id gets `idempotency_key`, or else a new id. Raises InvalidJson,
    InvalidBody, or RefusedEvent for the first event that the stream contract refuses.
    """
    document = _load(body)
    if "events" not in document:
        single = dict(document)
        single["id"] = _single_id(single.get("id"), idempotency_key)
        return [_event(0, single, max_content)]
    if len(document) > 1:
        raise InvalidBody('a body with "events" has nothing beside it')
    return [_event(index, item, max_content) for index, item in enumerate(_items(document))]


def _load(body: bytes) -> dict[str, Any]:
    document = parse_json(body)
    if not isinstance(document, dict):
        raise InvalidBody('the body must be an event, or {"events": […]}')
    return cast("dict[str, Any]", document)


def _items(document: Mapping[str, Any]) -> Sequence[Any]:
    found = document["events"]
    if not isinstance(found, list):
        raise InvalidBody('"events" must be a list')
    items = cast("list[Any]", found)
    if not 1 <= len(items) <= MAX_EVENTS:
        raise InvalidBody(f'"events" holds {len(items)} events; 1 to {MAX_EVENTS} are allowed')
    return items


def _single_id(given: Any, idempotency_key: str | None) -> Any:
    if given is None:
        return new_id() if idempotency_key is None else idempotency_key
    if idempotency_key not in (None, given):
        raise RefusedEvent(
            0, "id", Reason.INVALID_FIELD, "id and Idempotency-Key differ; give one of them"
        )
    return given


def _event(index: int, item: Any, max_content: int) -> Event:
    if not isinstance(item, dict):
        raise RefusedEvent(index, None, Reason.UNDECODABLE, "an event is an object")
    fields = _fields(index, cast("dict[str, Any]", item))
    try:
        return wire.parse(fields, max_content=max_content)
    except InvalidEvent as error:
        raise RefusedEvent(index, error.field, error.reason, error.detail) from None


def _fields(index: int, item: Mapping[str, Any]) -> dict[str, str]:
    """The fields as the stream has them. JSON's null is an absent field."""
    fields = {"v": wire.VERSION}
    for name, value in item.items():
        problem = _problem(name, value)
        if problem is not None:
            raise RefusedEvent(index, name[:40], Reason.INVALID_FIELD, problem)
        if value not in (None, False):
            fields[name] = value if isinstance(value, str) else "1"
    return fields


def _problem(name: str, value: Any) -> str | None:
    if name not in _FIELDS:
        return f"{name[:40]!a} is not a field of an event"
    # The two that are flags and numbers by nature may be written as such.
    if value is None or (name, value) in (("v", 1), ("if_exists", True), ("if_exists", False)):
        return None
    if not isinstance(value, str):
        return f"{name} must be a string"
    return None


def published_by(principal: Principal, access: Access, events: Sequence[Event]) -> list[Event]:
    """The events as this caller may publish them; raises RefusedEvent for the first that is not."""
    return [_published_by(principal, access, index, event) for index, event in enumerate(events)]


def _published_by(principal: Principal, access: Access, index: int, event: Event) -> Event:
    try:
        return access.published(principal, event)
    except AccessRefused as error:
        raise RefusedEvent(index, None, error.code, str(error), status=403) from None
