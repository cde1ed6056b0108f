"""One answer of a model, in clean and checked types, whatever its provider sends.

Between the client library and everything else: chunks of a stream or a whole completion go in, as
objects of the library or as plain values; text, tool calls, usage and the way it ended come out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from ingest.agents.calls import MOST_ARGUMENTS, ToolCallAssembler
from ingest.agents.values import (
    clean,
    count_of,
    cut,
    ends_within_character,
    get,
    is_blank,
    items,
    text_of,
)
from ingest.failures import ErrorNames
from ingest.prompt import ToolCall

# What became of an answer that the provider ended before the model did: the names that compatible
# servers, and gateways to other makes of models, have for it.
LENGTH: Final = frozenset(
    {
        *("length", "max_tokens", "max_output_tokens", "model_length"),
        "model_context_window_exceeded",
    }
)
FILTERED: Final = frozenset(
    {
        *("content_filter", "content_filtered", "safety", "sensitive", "guardrail_intervened"),
        *("recitation", "blocklist", "prohibited_content", "spii"),
    }
)
_ERROR: Final = "error"
_FAILED: Final = frozenset(
    {
        *(_ERROR, "abort", "aborted", "cancelled", "canceled", "network_error"),
        *("insufficient_system_resource", "malformed_function_call"),
    }
)
# Characters of a provider's own words that somebody may be shown.
_MOST_MESSAGE: Final = 500
_NO_WORDS: Final = "the provider reported an error without words"


class ReportedError(NamedTuple):
    """An error inside of an answer: the provider's words, which may quote anybody, and names."""

    words: str = _NO_WORDS
    names: ErrorNames = ErrorNames()


@dataclass(frozen=True, slots=True)
class Completion:
    """What one completion said. `calls` come with what the model must correct, if anything.

    `finish` is None where the provider never said that the answer is whole.
    """

    text: str
    calls: list[tuple[ToolCall, str | None]]
    left_out: int
    finish: str | None
    error: ReportedError | None
    input_tokens: int | None
    output_tokens: int | None

    @property
    def is_cut(self) -> bool:
        """Whether the answer reached a limit on its length."""
        return self.finish in LENGTH

    @property
    def is_filtered(self) -> bool:
        """Whether the provider held a part of it back."""
        return self.finish in FILTERED

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing to read."""
        return is_blank(self.text)


class Normaliser:
    """Takes one answer; no chunk raises. `names` are the tools that there are.

    `room` are the bytes that its text may have, `call_room` those of all arguments together.
    """

    def __init__(
        self, room: int, names: Collection[str] = (), *, call_room: int = MOST_ARGUMENTS
    ) -> None:
        self._room = room
        self._calls = ToolCallAssembler(names, room=call_room)
        self._text: list[str] = []
        self._half = ""
        self._choice: int | None = None
        self._finish: str | None = None
        self._error: ReportedError | None = None
        self._tokens: tuple[int | None, int | None] = (None, None)
        self._full = False

    @property
    def ended(self) -> bool:
        """Whether nothing that follows can count: it failed, or is full."""
        return self._error is not None or self._full

    @property
    def is_whole(self) -> bool:
        """Whether the provider said that the answer has ended."""
        return self._finish is not None

    def add_chunk(self, chunk: Any) -> str:
        """Add a chunk; the text that a reader may be shown now."""
        said = ""
        for part in items(chunk) or [chunk]:
            if not self.ended:
                self._take_usage(get(part, "usage"))
                self._error = error_of(part)
                for place, choice in enumerate(items(get(part, "choices"))):
                    said += self._take_choice(choice, place)
        return said

    def close(self) -> str:
        """End the answer; the text that was held back for its other half."""
        half, self._half = self._half, ""
        return self._keep(clean(half))

    def answer(self) -> Completion:
        """What was said."""
        finish = next(iter(LENGTH)) if self._full and self._error is None else self._finish
        calls = [] if finish in FILTERED else self._calls.finished(cut=finish in LENGTH)
        return Completion(
            "".join(self._text), calls, self._calls.left_out, finish, self._error, *self._tokens
        )

    def _take_usage(self, usage: Any) -> None:
        asked, said = (
            count_of(get(usage, name)) for name in ("prompt_tokens", "completion_tokens")
        )
        # Servers that send usage with each chunk count up.
        self._tokens = (
            self._tokens[0] if asked is None else asked,
            self._tokens[1] if said is None else said,
        )

    def _take_choice(self, choice: Any, place: int) -> str:
        index = get(choice, "index")
        index = index if isinstance(index, int) else place
        if self._choice is None:
            self._choice = index
        if index != self._choice:
            return ""  # another answer to the same prompt, which nobody asked for
        said = self._take_message(self._message(choice))
        finish = get(choice, "finish_reason")
        if isinstance(finish, str) and finish.strip():
            self._finish = clean(finish).strip().lower()
        if self._error is None:
            failed = self._finish in _FAILED
            self._error = error_of(choice) or (ReportedError() if failed else None)
        return said

    def _message(self, choice: Any) -> Any:
        """What the choice adds. Some servers end a stream with the whole message once more."""
        delta, message = get(choice, "delta"), get(choice, "message")
        began = bool(self._text) or bool(self._half) or bool(self._calls)
        return message if not delta and message is not None and not began else delta

    def _take_message(self, message: Any) -> str:
        pieces = items(get(message, "tool_calls"))
        old = get(message, "function_call")
        self._calls.add_pieces([*pieces, old] if old is not None else pieces)
        text = self._half + text_of(get(message, "content")) + text_of(get(message, "refusal"))
        self._half = ""
        if ends_within_character(text):
            text, self._half = text[:-1], text[-1]
        return self._keep(clean(text))

    def _keep(self, text: str) -> str:
        kept = cut(text, self._room)
        self._full = self._full or kept != text
        if kept:
            self._room -= len(kept.encode())
            self._text.append(kept)
        return kept


def error_of(part: Any) -> ReportedError | None:
    """The error that a provider reports inside of an answer; None without one."""
    error = get(part, "error")
    if not error and _ERROR not in (get(part, "object"), get(part, "type")):
        return None
    names = ErrorNames.told(get(error or part, "code"), get(error or part, "type"))
    words = error if isinstance(error, str) else get(error or part, "message")
    told = shortened(words) if isinstance(words, str) and words else _NO_WORDS
    return ReportedError(told, names)


def shortened(words: str) -> str:
    """A provider's words in one bounded line."""
    return " ".join(clean(words[:_MOST_MESSAGE]).split()) or _NO_WORDS
