"""The arguments of a tool, as models and programs write them.

One reading for function calling, MCP and REST: null and "" for what is left out, `"10"` and `10.0`
for a whole number, `"true"` for yes. What cannot be meant gets one sentence that a model can act
on. Values are checked by the tool's own model afterwards.
"""

from __future__ import annotations

import difflib
import re
from typing import Any, Final, TypeVar, cast

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sessions.errors import InvalidRequest

A = TypeVar("A", bound=BaseModel)

# Characters of a wrong name that an answer repeats.
_MOST_NAME: Final = 80
# Longer numbers are no limits, and slow to read.
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,18}(?:\.0{1,18})?")
_TRUTHS: Final = {"true": True, "false": False}
_NO_OBJECT: Final = "Input should be one JSON object, such as {}"


def read_arguments(model: type[A], given: object) -> A:
    """The arguments as the tool knows them; none at all where null is given.

    Raises InvalidRequest for what is no object and for names that the tool does not know, and
    pydantic's ValidationError for values that do not fit.
    """
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise InvalidRequest(_NO_OBJECT)
    known = model.model_fields
    found = cast("dict[Any, Any]", given)
    for name in found:
        if name not in known:
            raise InvalidRequest(_unknown(str(name), [*known]))
    kept = {
        name: _meant(value, known[name])
        for name, value in found.items()
        if not _left_out(name, value, known[name])
    }
    return model.model_validate(kept)


def _unknown(name: str, known: list[str]) -> str:
    shown = name[:_MOST_NAME]
    near = difflib.get_close_matches(_plain(shown), [*map(_plain, known)], n=1, cutoff=0.5)
    if near:
        meant = next(each for each in known if _plain(each) == near[0])
        return f"Invalid {shown!r}: there is no such argument; did you mean {meant!r}?"
    takes = ", ".join(known) if known else "no arguments"
    return f"Invalid {shown!r}: there is no such argument; this tool takes {takes}"


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


def _left_out(name: str, value: Any, field: FieldInfo) -> bool:
    """Whether this stands for an argument that is not given.

    An id is never blank: one that is stands for a mistake, not for all sessions.
    """
    blank = value == "" and not name.endswith("_id")
    return not field.is_required() and (value is None or blank)


def _meant(value: Any, field: FieldInfo) -> Any:
    if field.annotation is int:
        return _whole(value)
    return _truth(value) if field.annotation is bool else value


def _truth(value: Any) -> Any:
    """Yes or no that is written as a text."""
    return _TRUTHS.get(value.strip().lower(), value) if isinstance(value, str) else value


def _whole(value: Any) -> Any:
    """A whole number that is written as a text or with a fraction of nothing."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 10**18:
        return int(value)
    if isinstance(value, str):
        text = value.strip()
        return int(text.partition(".")[0]) if _WHOLE.fullmatch(text) else text
    return value
