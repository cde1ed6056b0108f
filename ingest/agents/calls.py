"""Tool calls, put together from the pieces in which providers send them, and read as models write.

Pieces are told apart by their index, else by their id, else by their place. A new id or another
name begins a new call, since some servers give every call the same index.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pydantic_core import from_json

from ingest.agents.values import clean, count_of, get, text_of
from ingest.prompt import ToolCall

# Calls of one step: more than any task here needs, and few enough to wait for.
MOST_CALLS: Final = 16
# Surplus calls that are told apart, only to count them.
_MOST_COUNTED: Final = 1000
# Bytes of one call's arguments: a message to another session fits, a whole book does not.
MOST_ARGUMENTS: Final = 64 * 1024
# Characters of a name and an id that every provider takes back.
_MOST_NAME: Final = 64
_NUMBER: Final = re.compile("[0-9]{1,9}")
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_-]")
_NOT_IN_IDS: Final = re.compile(r"[^A-Za-z0-9_.:-]")

TOO_LONG: Final = "The arguments are too long; send shorter ones."
CUT_OFF: Final = "The answer reached its length limit within this call; send it again, shorter."
NOT_JSON: Final = "The arguments are not valid JSON; send one JSON object with plain values."
NO_OBJECT: Final = "The arguments must be one JSON object, such as {}."


@dataclass(slots=True)
class _Open:
    """A call whose pieces still come."""

    index: int | None
    id: str
    name: str = ""
    arguments: str = ""
    too_long: bool = False

    @property
    def is_whole(self) -> bool:
        text = self.arguments.strip()
        return text.endswith("}") and isinstance(_loaded(text), dict)

    def add(self, arguments: str) -> None:
        self.arguments += arguments
        if len(self.arguments) > MOST_ARGUMENTS:
            self.too_long, self.arguments = True, ""


class _Piece(NamedTuple):
    at: int | None
    id: str
    name: str
    arguments: str


class ToolCallAssembler:
    """The calls of one step. `names` are the tools that there are.

    `room` are the bytes that all arguments may have together, written as a JSON text.
    """

    def __init__(self, names: Collection[str] = (), *, room: int = MOST_ARGUMENTS) -> None:
        self._names = names
        self._room = room
        self._calls: list[_Open] = []
        self._last: _Open | None = None

    def __bool__(self) -> bool:
        return bool(self._calls)

    @property
    def left_out(self) -> int:
        """How many calls there are beyond those that one step may have."""
        return max(0, len(self._calls) - MOST_CALLS)

    def add_pieces(self, pieces: Sequence[Any]) -> None:
        """Add the pieces of one chunk, whatever they are."""
        earlier = [self._last] if len(pieces) == 1 and self._last is not None else self._calls[:]
        for place, item in enumerate(pieces):
            piece = _piece(item)
            if piece is not None:
                self._add(piece, earlier[place] if place < len(earlier) else None)

    def _add(self, piece: _Piece, in_place: _Open | None) -> None:
        call = self._known(piece, in_place)
        if call is None:
            call = self._begin(piece)
        elif call.arguments and piece.arguments == call.arguments and call.is_whole:
            return  # sent again as a whole
        self._last = call
        call.index = piece.at if call.index is None else call.index
        call.id = call.id or piece.id
        if piece.name != call.name:
            call.name += piece.name
        if not call.too_long:
            call.add(piece.arguments)

    def _known(self, piece: _Piece, in_place: _Open | None) -> _Open | None:
        """The call that this piece goes on with; None where it begins one."""
        call = self._candidate(piece, in_place)
        if call is None or (piece.id and call.id and piece.id != call.id):
            return None
        if piece.name and call.name and not self._goes_on(call, piece):
            return None
        return call

    def _candidate(self, piece: _Piece, in_place: _Open | None) -> _Open | None:
        if piece.at is not None:
            found = _newest(call for call in self._calls if call.index == piece.at)
            if found is not None or piece.name:
                return found
            # A call whose first piece had no index.
            in_place = in_place if in_place is not None and in_place.index is None else None
        if piece.id:
            return _newest(call for call in self._calls if call.id == piece.id)
        return in_place

    def _goes_on(self, call: _Open, piece: _Piece) -> bool:
        if piece.name == call.name:
            return bool(piece.id) or not call.is_whole or piece.arguments == call.arguments
        begun = not call.arguments and call.name not in self._names
        return begun and any(name.startswith(call.name + piece.name) for name in self._names)

    def _begin(self, piece: _Piece) -> _Open:
        surplus = len(self._calls) >= MOST_CALLS
        call = _Open(piece.at, piece.id, too_long=surplus)
        if len(self._calls) < _MOST_COUNTED:
            self._calls.append(call)
        return call

    def finished(self, *, cut: bool) -> list[tuple[ToolCall, str | None]]:
        """Each call as it may be shown, stored and sent back, with what is wrong with it.

        `cut` says that the answer reached its length limit, perhaps within the last call.
        """
        taken: set[str] = set()
        found: list[tuple[ToolCall, str | None]] = []
        room = self._room
        for call in self._calls[:MOST_CALLS]:
            arguments, problem = _arguments(call, cut=cut and call is self._calls[-1])
            room -= len(json.dumps(arguments, ensure_ascii=False).encode())
            if room < 0:
                arguments, problem = "{}", TOO_LONG
            name = valid_name(clean(call.name))
            found.append((ToolCall(_unique(call.id, taken), name, arguments), problem))
        return found


def _newest(calls: Iterable[_Open]) -> _Open | None:
    return max(enumerate(calls), default=(0, None), key=lambda pair: pair[0])[1]


def _piece(item: Any) -> _Piece | None:
    """What a piece says, in clean types; None where it says nothing."""
    function = get(item, "function")
    if function is None and (get(item, "name") or get(item, "arguments")):
        function = item
    index = get(item, "index")
    piece = _Piece(
        count_of(int(index) if isinstance(index, str) and _NUMBER.fullmatch(index) else index),
        text_of(get(item, "id")),
        text_of(get(function, "name")).strip(),
        _fragment(get(function, "arguments")),
    )
    return piece if piece.id or piece.name or piece.arguments else None


def _fragment(value: Any) -> str:
    """A piece of the arguments' JSON text; some servers send the object itself."""
    if isinstance(value, dict):
        try:
            return json.dumps(value)
        except (ValueError, TypeError, RecursionError):
            return "{}."  # no JSON, so that the model is told
    return text_of(value)


def _unique(call_id: str, taken: set[str]) -> str:
    # Nine letters and digits are what the strictest provider takes.
    found = valid_id(clean(call_id))
    if not found or found in taken:
        found = uuid.uuid4().hex[:9]
    taken.add(found)
    return found


def valid_id(call_id: str) -> str:
    """The id as every provider takes it back; empty where nothing is left."""
    return _NOT_IN_IDS.sub("", call_id)[:_MOST_NAME]


def valid_name(name: str) -> str:
    """A tool's name as every provider takes it back."""
    return _NOT_IN_NAMES.sub("_", name)[:_MOST_NAME] or "unknown"


# -- arguments -----------------------------------------------------------------------------------


def _arguments(call: _Open, *, cut: bool) -> tuple[str, str | None]:
    text = clean(call.arguments)
    if call.too_long or len(text.encode()) > MOST_ARGUMENTS:
        return "{}", TOO_LONG
    arguments, problem = read_arguments(text)
    if cut and (problem is not None or not text.strip()):
        return "{}", CUT_OFF
    return arguments, problem


def read_arguments(text: str) -> tuple[str, str | None]:
    """The arguments as the JSON text of one object, and what the model must correct, if anything.

    Nothing and null are no arguments. An object within a string is one, too: models write it.
    """
    if not text.strip():
        return "{}", None
    value = _loaded(text)
    if isinstance(value, str):
        value = _loaded(value)
    if value is None:
        return "{}", None
    if value is _NOTHING:
        return "{}", NOT_JSON
    if not isinstance(value, dict):
        return "{}", NO_OBJECT
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")), None
    except (ValueError, RecursionError):
        return "{}", NOT_JSON


_NOTHING: Final = object()


def _loaded(text: str) -> Any:
    """The value; _NOTHING where there is none that can be sent on: NaN, halves, any depth."""
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return _NOTHING
