"""Values of a provider as they come, and the clean types that are made of them. Nothing raises."""

from __future__ import annotations

import math
import unicodedata
from typing import Any, Final, cast

# A number of tokens that is larger is no number of tokens.
_MOST_TOKENS: Final = 2**53
# Letters without any shape, beside blanks and controls.
_SHAPELESS: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")
_TEXT_PARTS: Final = frozenset({None, "text", "output_text"})


def get(thing: Any, name: str) -> Any:
    """A field of a dict or of one of the client library's objects; None where there is none."""
    if isinstance(thing, dict):
        return cast("dict[Any, Any]", thing).get(name)
    return getattr(thing, name, None)


def items(value: Any) -> list[Any]:
    """The items of a list; none of anything else."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def text_of(value: Any) -> str:
    """The text that a value stands for: a text, a number, or a list of parts with texts in them.

    Halves of a character stay as they are, since the other half may follow.
    """
    if isinstance(value, list):
        return "".join(map(_part, cast("list[Any]", value)))
    return _part(value)


def _part(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, int | float):
        return _number(value)
    kind = get(value, "type")
    if kind is not None and (not isinstance(kind, str) or kind not in _TEXT_PARTS):
        return ""  # an image, or what the model thought
    text = get(value, "text")
    found = text if isinstance(text, str) else get(text, "value")
    return found if isinstance(found, str) else ""


def _number(value: float) -> str:
    try:
        return str(value) if math.isfinite(value) else ""
    except (OverflowError, ValueError):
        return ""


def count_of(value: Any) -> int | None:
    """A number of tokens; None where the value is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value < _MOST_TOKENS else None


def clean(text: str) -> str:
    """The text without lone halves of characters; two that belong together become one."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def ends_within_character(text: str) -> bool:
    """Whether the last character is the first half of one."""
    return text[-1:] >= "\ud800" and text[-1:] <= "\udbff"


def cut(text: str, most: int) -> str:
    """The beginning of a clean text that has at most so many bytes."""
    if len(text) * 4 <= most:
        return text
    return text.encode()[: max(0, most)].decode("utf-8", "ignore")


def is_blank(text: str) -> bool:
    """Whether a reader would see nothing: blanks, controls, letters without a shape."""
    return all(
        c.isspace() or c in _SHAPELESS or unicodedata.category(c) in ("Cc", "Cf") for c in text
    )
