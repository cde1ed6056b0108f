"""A line of a JSONL session, read exactly as ZeroClaw reads it: by serde_json into two texts.

Python's parser takes more than that: NaN, half a surrogate pair, a key that stands twice. And it
takes less: serde_json steps over the values that it does not need without looking into them, so
that these may be nested as deep as they like, and may hold half a pair.
"""

from __future__ import annotations

import json
import re
from typing import Final, NoReturn, cast

# Rust's `trim`: the characters that Unicode calls White_Space. `str.strip` takes off four more.
_BLANKS: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
_FIELDS: Final = ("role", "content")


class NotAMessage(ValueError):
    """Why ZeroClaw does not read a line, in plain English."""


def message_of(line: bytes) -> tuple[str, str] | None:
    """Role and content of a line; None for a blank one. Raises NotAMessage."""
    try:
        text = line.decode().strip(_BLANKS)
    except UnicodeDecodeError as error:
        raise NotAMessage(f"it is not UTF-8 (byte {error.start + 1})") from None
    if not text:
        return None
    role, content = _two_of(_parsed(text))
    if not (isinstance(role, str) and isinstance(content, str)):
        raise NotAMessage("its role or its content is no text")
    _check_pairs(role + content)
    return role, content


def _parsed(text: str) -> object:
    try:
        value, end = _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        raise NotAMessage(f"it is not JSON: {error.msg} (character {error.pos + 1})") from None
    except RecursionError:
        return _parsed(_flattened(text))
    if end != len(text):
        raise NotAMessage(f"it is not JSON: more follows (character {end + 1})")
    return value


def _two_of(value: object) -> tuple[object, object]:
    """The values of the two fields. serde takes them from an object, or from a list of two."""
    if isinstance(value, list):
        return _two_in_list(cast("list[object]", value))
    if not isinstance(value, tuple):
        raise NotAMessage("it is not an object")
    pairs = cast("tuple[tuple[str, object], ...]", value)
    names = [name for name, _ in pairs]
    _check_pairs("".join(names))
    for field in _FIELDS:
        if names.count(field) != 1:
            raise NotAMessage(f"it has {'two fields' if field in names else 'no field'} {field!r}")
    fields = dict(pairs)
    return fields["role"], fields["content"]


def _two_in_list(values: list[object]) -> tuple[object, object]:
    if len(values) != len(_FIELDS):
        raise NotAMessage("it is a list, but not of a role and a content")
    return values[0], values[1]


def _check_pairs(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotAMessage("it has half a surrogate pair, which is no character") from None


def _refuse(name: str) -> NoReturn:
    raise NotAMessage(f"it is not JSON: {name} is no number")


def _number(_: str) -> None:
    """Numbers are stepped over, however long they are."""


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=tuple, parse_int=_number, parse_float=_number, parse_constant=_refuse
)

# One piece of a JSON text, with the blanks before it.
_PIECE: Final = re.compile(
    r"[ \t\n\r]*(?:(?P<mark>[][{},:])"
    r'|(?P<text>"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+")'
    r"|(?P<plain>(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)))"
)
# What may follow, by what came last: `[` `{` `,` `:` and `.` for a value. A text before `:` is a
# key; in an object a value comes behind a `:` only.
_AFTER: Final = {
    ("[", "["): "[{.]",
    ("[", ","): "[{.",
    ("[", "."): ",]",
    ("{", "{"): "k}",
    ("{", ","): "k",
    ("{", "k"): ":",
    ("{", ":"): "[{.",
    ("{", "."): ",}",
}


def _flattened(text: str) -> str:
    """The JSON text with `null` for each list and object inside of the outermost one.

    Raises NotAMessage if one of them is not JSON. It needs no stack of calls.
    """
    open_ones: list[str] = []
    kept: list[str] = []
    last, place = "", 0
    while place < len(text):
        piece = _PIECE.match(text, place)
        allowed = _AFTER[open_ones[-1], last] if open_ones else "[{" if not last else ""
        kind = _kind_of(piece, allowed)
        if piece is None or kind not in allowed:
            raise NotAMessage(f"it is not JSON: another character is due (character {place + 1})")
        place = piece.end()
        if kind in "[{":
            kept.append("null" if len(open_ones) == 1 else piece[0] if not open_ones else "")
            open_ones.append(kind)
            last = kind
            continue
        if len(open_ones) == 1:
            kept.append(piece[0])
        if kind in "]}":
            open_ones.pop()
        last = "." if kind in "]}." else kind
    return "".join(kept)


def _kind_of(piece: re.Match[str] | None, allowed: str) -> str:
    """A mark itself, `k` for a text that is a key, `.` for any other value."""
    if piece is None:
        return "?"
    if piece["mark"]:
        return piece["mark"]
    return "k" if piece["text"] and "k" in allowed else "."
