"""Tables of a document that nobody has checked yet."""

from __future__ import annotations

from typing import Any, cast


def is_table(value: object) -> bool:
    """Whether the value of a document is a table."""
    return isinstance(value, dict)


def table_of(value: object) -> dict[str, Any]:
    """The value if it is a table; an empty one for anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


__all__ = ["is_table", "table_of"]
