"""An event as the fields of one XADD."""

from __future__ import annotations

from sessions import times
from sessions.models import Event
from sessions.wire.fields import VERSION


def encode(event: Event) -> dict[str, str]:
    """The fields of one XADD; `parse` reads them back to an equal event."""
    fields = {"v": VERSION}
    for name, value in zip(Event._fields, event, strict=True):
        if value is None or value is False or (name == "session" and value == ""):
            continue
        if value is True:
            fields[name] = "1"
        elif isinstance(value, int):
            fields[name] = times.render(value)
        else:
            fields[name] = value
    return fields
