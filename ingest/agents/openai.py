"""An agent on any OpenAI-compatible endpoint, streamed, with the session tools in its hands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from openai import APIConnectionError, APIStatusError, AsyncOpenAI, OpenAIError

from ingest.agents.base import Progress, Reply, Usage
from ingest.agents.tools import SessionTools
from ingest.failures import AgentError
from ingest.prompt import Line, ToolCall, dump_calls, dump_result

# Rounds of tools in one turn: upstream's default. The last one is offered none, so that it ends.
MOST_ROUNDS: Final = 10


@dataclass(slots=True)
class _Answer:
    """What one completion said."""

    text: str = ""
    calls: dict[int, dict[str, str]] = field(default_factory=dict[int, dict[str, str]])
    input_tokens: int | None = None
    output_tokens: int | None = None

    @property
    def tool_calls(self) -> list[ToolCall]:
        return [ToolCall(**call) for _, call in sorted(self.calls.items())]


class OpenAiAgent:
    """Answers with a model's words."""

    provider: str = "openai"

    def __init__(
        self,
        client: AsyncOpenAI,
        *,
        model: str,
        system_prompt: str | None,
        tools: SessionTools,
    ) -> None:
        self.model: str | None = model
        self._client = client
        self._system_prompt = system_prompt
        self._tools = tools

    async def answer(self, session: str, lines: Sequence[Line], progress: Progress) -> Reply:
        """The model's reply, after as many rounds of tools as it wants and is allowed."""
        messages = self._prompt(lines)
        between: list[tuple[str, str]] = []
        answers: list[_Answer] = []
        offered = await self._tools.offered()
        for rounds_left in reversed(range(MOST_ROUNDS)):
            answer = await self._complete(messages, offered if rounds_left else [], progress)
            answers.append(answer)
            if not answer.calls:
                break
            messages.append(_calling(answer.text, answer.tool_calls))
            between.append(("assistant", dump_calls(answer.tool_calls, answer.text)))
            for call in answer.tool_calls:
                output = await self._use(session, call, progress)
                messages.append({"role": "tool", "tool_call_id": call.id, "content": output})
                between.append(("tool", dump_result(call.id, output)))
        if not answers[-1].text:
            raise AgentError("the model ended without an answer")
        return Reply(answers[-1].text, between, _usage(answers))

    def _prompt(self, lines: Sequence[Line]) -> list[dict[str, Any]]:
        system = self._system_prompt
        messages = [{"role": "system", "content": system}] if system else []
        return [*messages, *map(_message, lines)]

    async def _use(self, session: str, call: ToolCall, progress: Progress) -> str:
        progress.tool_call(call.id, call.name, _arguments(call))
        output = await self._tools.call(session, call.name, call.arguments)
        progress.tool_result(call.id, call.name, output)
        return output

    async def _complete(
        self, messages: list[dict[str, Any]], offered: list[dict[str, Any]], progress: Progress
    ) -> _Answer:
        try:
            return await self._stream(messages, offered, progress)
        except APIStatusError as error:
            raise AgentError(error.message, status=error.status_code) from error
        except APIConnectionError as error:
            raise AgentError(f"the provider cannot be reached: {error}") from error
        except OpenAIError as error:
            raise AgentError(f"the provider failed: {error}") from error

    async def _stream(
        self, messages: list[dict[str, Any]], offered: list[dict[str, Any]], progress: Progress
    ) -> _Answer:
        request: dict[str, Any] = {"model": self.model, "messages": messages}
        if offered:
            request["tools"] = offered
        stream = await cast("Any", self._client.chat.completions).create(
            **request, stream=True, stream_options={"include_usage": True}
        )
        answer = _Answer()
        async with stream:
            async for chunk in stream:
                _take(answer, chunk, progress)
        return answer


def _take(answer: _Answer, chunk: Any, progress: Progress) -> None:
    """Add what a chunk of the stream brings."""
    if chunk.usage is not None:
        answer.input_tokens = chunk.usage.prompt_tokens
        answer.output_tokens = chunk.usage.completion_tokens
    for choice in chunk.choices:
        if choice.delta.content:
            answer.text += choice.delta.content
            progress.chunk(choice.delta.content)
        for part in choice.delta.tool_calls or ():
            call = answer.calls.setdefault(part.index, {"id": "", "name": "", "arguments": ""})
            call["id"] = part.id or call["id"]
            if part.function is not None:
                call["name"] += part.function.name or ""
                call["arguments"] += part.function.arguments or ""


def _message(line: Line) -> dict[str, Any]:
    if line.role == "tool":
        return {"role": "tool", "tool_call_id": line.answers or "", "content": line.text}
    if line.calls:
        return _calling(line.text, line.calls)
    return {"role": line.role, "content": line.text}


def _calling(text: str, calls: Sequence[ToolCall]) -> dict[str, Any]:
    found = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in calls
    ]
    return {"role": "assistant", "content": text or None, "tool_calls": found}


def _arguments(call: ToolCall) -> Mapping[str, Any]:
    try:
        found = json.loads(call.arguments or "{}")
    except ValueError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _usage(answers: Sequence[_Answer]) -> Usage:
    """Sums over all calls; None where no call told."""
    asked = [a.input_tokens for a in answers if a.input_tokens is not None]
    said = [a.output_tokens for a in answers if a.output_tokens is not None]
    return Usage(
        sum(asked) if asked else None,
        sum(said) if said else None,
        asked[-1] if asked else None,
    )
