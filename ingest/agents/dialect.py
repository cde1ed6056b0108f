"""What one endpoint is asked with, and what it turned out not to take.

Everything beside the model and the messages is optional. If an endpoint refuses a part of it with
a 4xx that names it, the request is sent again without that part.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from openai import APIStatusError

from ingest.failures import AgentError, is_context_overflow
from sessions.process.settings import AgentSettings

log = logging.getLogger(__name__)

Request = dict[str, Any]

# Statuses about access, the moment or the pace: they say nothing about what was sent.
_OTHER: Final = frozenset({401, 403, 407, 408, 409, 413, 425, 429})
_LIMITS: Final = ("max_completion_tokens", "max_tokens")
# How refusals name a part, most telling first; other parts are named by their own names.
_NAMES: Final[dict[str, str]] = {
    "stream_options": r"stream[_ ]options?|include_usage",
    "max_completion_tokens": r"max[_ ]completion[_ ]tokens",
    "max_tokens": r"max[_ ]tokens",
    "tools": r"tools?|tool[_ ](?:use|calls?|calling|choice)|functions?|function[_ ]call(?:s|ing)?",
    "stream": r"stream|streaming|streamed",
}
_REMEDIES: Final[dict[str, str]] = {
    "stream_options": "stream_options = false",
    "tools": "tools = false",
    "stream": "stream = false",
    "max_tokens": "max_completion_tokens instead of max_tokens",
    "max_completion_tokens": "max_tokens instead of max_completion_tokens",
}


@dataclass(slots=True)
class Dialect:
    """The optional parts of one agent's requests. What is left out once stays left out."""

    alias: str
    settings: AgentSettings
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    _refused: set[str] = field(default_factory=set[str])

    def request(
        self,
        messages: Sequence[dict[str, Any]],
        offered: Sequence[dict[str, Any]],
        without: Collection[str] = (),
    ) -> Request:
        """The arguments of `create`, without these parts and those that were refused before."""
        left_out = {*without, *self._refused}
        takes_tools = self.settings.tools and "tools" not in left_out
        request: Request = {
            "model": self.settings.model,
            "messages": [*messages] if takes_tools else _without_tools(messages),
        }
        if offered and takes_tools:
            request["tools"] = [*offered]
        if self.settings.stream and "stream" not in left_out:
            request["stream"] = True
            if self.settings.stream_options and "stream_options" not in left_out:
                request["stream_options"] = {"include_usage": True}
        return request | self._limit(left_out) | self._extras(left_out)

    def _limit(self, left_out: Collection[str]) -> Request:
        """The most tokens of an answer, by the other name if the endpoint refused the first."""
        own = self.settings
        names = [*_LIMITS] if own.max_completion_tokens is not None else [*reversed(_LIMITS)]
        most = own.max_completion_tokens or own.max_tokens
        name = next((name for name in names if name not in left_out), None)
        return {} if most is None or name is None else {name: most}

    def _extras(self, left_out: Collection[str]) -> Request:
        body = {key: v for key, v in self.settings.extra_body.items() if key not in left_out}
        headers = {key: v for key, v in self.headers.items() if key not in left_out}
        return {"extra_body": body, "extra_headers": headers}

    def refused_part(self, error: APIStatusError, request: Request) -> str | None:
        """Which optional part of the request the endpoint does not take; None if it names none."""
        status = error.status_code
        if not 400 <= status < 500 or status in _OTHER:
            return None
        if is_context_overflow(AgentError(error.message)):
            return None
        sent = _optional(request)
        parameter = named_parameter(cast("Any", error).param)
        if parameter is not None:
            named = re.split(r"[.\[]", parameter, maxsplit=1)[0]
            return named if named in sent else None
        return next((part for part in sent if _names(part, error.message)), None)

    def remember(self, parts: Mapping[str, int]) -> None:
        """Leave these parts out from now on, and say once which setting avoids the detour.

        With each part comes the status of its refusal.
        """
        for part, status in parts.items():
            if part in self._refused:
                continue
            remedy = _REMEDIES.get(part, "without it in extra_body or extra_headers")
            log.warning(
                "agent %s: its endpoint refuses %s (%d), which is left out from now on; "
                "set %s in [agents.%s] to avoid the second request",
                *(self.alias, part, status, remedy, self.alias),
            )
            self._refused.add(part)


def named_parameter(value: Any) -> str | None:
    """The parameter that an error names; None where it names none, which some write as ""."""
    return value if isinstance(value, str) and value.strip() else None


def _optional(request: Request) -> list[str]:
    known = [name for name in _NAMES if name in request]
    return [*known, *request["extra_body"], *request["extra_headers"]]


def _names(part: str, text: str) -> bool:
    pattern = _NAMES.get(part, re.escape(part))
    return re.search(rf"(?<!\w)(?:{pattern})(?!\w)", text, re.IGNORECASE) is not None


def _without_tools(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The conversation for an endpoint that does not know tools: only what was said."""
    kept = [message for message in messages if message["role"] != "tool"]
    return [
        {"role": message["role"], "content": message["content"]}
        for message in kept
        if message["content"] or "tool_calls" not in message
    ]
