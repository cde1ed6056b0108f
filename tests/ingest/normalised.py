"""What every answer of the normaliser must be, whatever came in."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, Final

from ingest.agents.calls import MOST_CALLS
from ingest.agents.normalise import Completion, Normaliser

ROOM: Final = 1000
NAMES: Final = frozenset({"sessions_list", "sessions_current"})


def as_objects(value: Any) -> Any:
    """The same as the client library shows it: fields instead of keys."""
    if isinstance(value, dict):
        fields = {str(key): as_objects(item) for key, item in value.items()}
        return SimpleNamespace(**fields)
    return [*map(as_objects, value)] if isinstance(value, list) else value


def read(chunks: list[Any], room: int = ROOM) -> tuple[Completion, str]:
    found = Normaliser(room, NAMES)
    shown = "".join(map(found.add_chunk, chunks)) + found.close()
    return found.answer(), shown


def check_clean(answer: Completion, shown: str) -> None:
    assert answer.text == shown
    assert len(shown.encode()) <= ROOM
    assert len(answer.calls) <= MOST_CALLS
    ids = [call.id for call, _ in answer.calls]
    assert len({*ids}) == len(ids)
    for call, problem in answer.calls:
        assert call.id.isascii()
        assert call.id
        assert call.name.replace("_", "a").replace("-", "a").isalnum()
        assert isinstance(json.loads(call.arguments), dict)
        json.dumps(call, ensure_ascii=False, allow_nan=False).encode()
        assert problem is None or (problem.endswith(".") and "\n" not in problem)
    for count in (answer.input_tokens, answer.output_tokens):
        assert count is None or (type(count) is int and count >= 0)
    assert answer.finish is None or answer.finish.encode()
    assert answer.error is None or answer.error.words.encode()


def check(chunks: list[Any]) -> None:
    for form in (chunks, as_objects(chunks)):
        check_clean(*read(form))
