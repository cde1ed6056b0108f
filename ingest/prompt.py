"""From stored messages to what a model reads. The store keeps the originals.

Tool turns are stored as upstream stores them, as JSON in the content: an assistant's
`{"tool_calls": [{"id", "name", "arguments"}], "content"}`, a tool's `{"content", "tool_call_id"}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, cast

from sessions import times

# Messages of a session's past that a turn reads.
HISTORY: Final = 50

_STAMPED: Final = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [^\]\n]{1,40}\] ")
_USED_TOOLS: Final = re.compile(r"\A\[Used tools: [^\]\n]*\]\s*")
_TOOL_RESULT: Final = re.compile(r"<tool_result\b[^>]*>.*?</tool_result>\s*", re.DOTALL)
_INLINE_IMAGE: Final = re.compile(r"\[IMAGE:data:[^\]]*\]")
_IMAGE_LEFT_OUT: Final = "[image]"


class ToolCall(NamedTuple):
    """One use of a tool; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One message of the prompt; `written` is its text without what was added for the model."""

    role: str
    text: str
    written: str
    calls: tuple[ToolCall, ...] = ()
    answers: str | None = None


class HistoryMessage(NamedTuple):
    """A stored message, as far as a prompt needs it; `at` in microseconds."""

    role: str
    content: str
    at: int


def build(history: Sequence[HistoryMessage], latest: HistoryMessage) -> list[PromptMessage]:
    """The conversation as a model reads it, ending with the message to answer."""
    lines = [_read(message) for message in history if message.role in ("user", "assistant", "tool")]
    lines = without_orphans([*map(_tidied, lines), _read(latest)])
    return _merged(lines)


def dump_calls(calls: Sequence[ToolCall], text: str | None) -> str:
    """The stored content of an assistant message that uses tools."""
    found = [call._asdict() for call in calls]
    return _dump({"tool_calls": found, "content": text or None})


def dump_result(call_id: str, output: str) -> str:
    """The stored content of a tool's message."""
    return _dump({"content": output, "tool_call_id": call_id})


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _redump(value: Any) -> str:
    try:
        return _dump(value)
    except (ValueError, RecursionError):
        return "{}"


def _read(message: HistoryMessage) -> PromptMessage:
    if message.role == "user":
        return PromptMessage("user", stamped(message.content, message.at), message.content)
    found = _object(message.content)
    if message.role == "tool":
        call_id = found.get("tool_call_id")
        text = _text(found.get("content"), message.content)
        return PromptMessage(
            "tool", text, text, answers=call_id if isinstance(call_id, str) else None
        )
    calls = _calls(found.get("tool_calls"))
    text = _text(found.get("content"), "") if calls else message.content
    return PromptMessage("assistant", text, text, calls=calls)


def stamped(text: str, at: int) -> str:
    """The text with the local time when it was written, unless it begins with one already."""
    if _STAMPED.match(text):
        return text
    return f"[{times.local(at):%Y-%m-%d %H:%M:%S %Z}] {text}"


def _object(content: str) -> dict[str, Any]:
    if not content.startswith("{"):
        return {}
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _text(value: Any, default: str) -> str:
    return value if isinstance(value, str) else default


def _calls(value: Any) -> tuple[ToolCall, ...]:
    items = cast("list[Any]", value) if isinstance(value, list) else []
    return tuple(call for item in items if (call := _call(item)) is not None)


def _call(item: Any) -> ToolCall | None:
    fields = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
    call_id, name, arguments = (fields.get(key) for key in ("id", "name", "arguments"))
    if not isinstance(call_id, str) or not isinstance(name, str):
        return None
    return ToolCall(call_id, name, arguments if isinstance(arguments, str) else _redump(arguments))


def _tidied(line: PromptMessage) -> PromptMessage:
    """An older line without what only its own turn needed."""
    text = _INLINE_IMAGE.sub(_IMAGE_LEFT_OUT, line.text)
    if line.role == "assistant":
        text = _TOOL_RESULT.sub("", _USED_TOOLS.sub("", text))
    return replace(line, text=text) if text != line.text else line


# -- orphans -------------------------------------------------------------------------------------


def without_orphans(lines: Sequence[PromptMessage]) -> list[PromptMessage]:
    """The lines without tool calls that nothing answered and answers to no call.

    Histories are cut, turns are interrupted, and a provider refuses a prompt with either.
    """
    return _without_open_calls(_without_lost_answers(_without_repeated_calls(list(lines))))


def _without_repeated_calls(lines: list[PromptMessage]) -> list[PromptMessage]:
    """Drop a call that directly follows an unanswered one, and the answers to it."""
    kept: list[PromptMessage] = []
    dropped: frozenset[str] | None = None
    for line in lines:
        if dropped is not None and line.role == "tool":
            if line.answers is None or line.answers in dropped:
                continue
        elif line.calls and kept and kept[-1].calls:
            dropped = _ids(line)
            continue
        else:
            dropped = None
        kept.append(line)
    return kept


def _without_lost_answers(lines: list[PromptMessage]) -> list[PromptMessage]:
    """Drop an answer whose nearest assistant line before it did not ask for it."""
    kept: list[PromptMessage] = []
    asked: frozenset[str] = frozenset()
    for line in lines:
        if line.role != "tool":
            asked = _ids(line)
        elif not asked or (line.answers is not None and line.answers not in asked):
            continue
        kept.append(line)
    return kept


def _without_open_calls(lines: list[PromptMessage]) -> list[PromptMessage]:
    """Drop calls of which not all were answered, and the answers that did come."""
    kept: list[PromptMessage] = []
    at = 0
    while at < len(lines):
        end = at + 1
        while end < len(lines) and lines[end].role == "tool":
            end += 1
        group = lines[at:end]
        if _is_complete(group):
            kept += group
        elif group[0].text:
            kept.append(replace(group[0], calls=()))
        at = end
    return kept


def _is_complete(group: Sequence[PromptMessage]) -> bool:
    answers = {line.answers for line in group[1:]}
    return None in answers or _ids(group[0]) <= answers


def _ids(line: PromptMessage) -> frozenset[str]:
    return frozenset(call.id for call in line.calls)


# -- sides ---------------------------------------------------------------------------------------


def _merged(lines: Sequence[PromptMessage]) -> list[PromptMessage]:
    """Consecutive lines of one side as one: providers want the sides to take turns."""
    merged: list[PromptMessage] = []
    for line in lines:
        last = merged[-1] if merged else None
        if last is not None and last.role == line.role and _is_plain(last) and _is_plain(line):
            text = f"{last.text}\n\n{line.text}"
            merged[-1] = replace(line, text=text)
        else:
            merged.append(line)
    return merged


def _is_plain(line: PromptMessage) -> bool:
    return line.role != "tool" and not line.calls


# -- overflow ------------------------------------------------------------------------------------

# What is left of a history that was too long for the model: upstream's measures.
_COMPACT_LINES: Final = 12
_COMPACT_TEXT: Final = 600


def compacted(lines: Sequence[PromptMessage]) -> list[PromptMessage]:
    """The last lines only, each cut short; the one to answer stays whole."""
    recent = [_shortened(line) for line in lines[-_COMPACT_LINES:-1]]
    return without_orphans([*recent, lines[-1]])


def _shortened(line: PromptMessage) -> PromptMessage:
    if len(line.text) <= _COMPACT_TEXT:
        return line
    return replace(line, text=f"{line.text[:_COMPACT_TEXT]}...")
