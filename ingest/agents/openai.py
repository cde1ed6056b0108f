"""An agent on any OpenAI-compatible endpoint, streamed, with the session tools in its hands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final, cast

from openai import APIConnectionError, APIStatusError, AsyncOpenAI, OpenAIError

from ingest.agents.base import Progress, Reply, Usage
from ingest.agents.calls import read_arguments, valid_id, valid_name
from ingest.agents.dialect import Dialect, named_parameter
from ingest.agents.events import AnswerTooLarge, JsonEventParser
from ingest.agents.normalise import Completion, Normaliser, shortened
from ingest.agents.tools import SessionTools
from ingest.agents.values import clean, is_blank
from ingest.failures import (
    CUT_SHORT,
    MARKER_ROOM,
    WITHHELD,
    AgentError,
    ErrorNames,
    ProviderError,
)
from ingest.prompt import PromptMessage, ToolCall, dump_calls, dump_result
from sessions.wire import DEFAULT_MAX_CONTENT

# Rounds of tools in one turn: upstream's default. The last one is offered none, so that it ends.
MOST_ROUNDS: Final = 10
# Seconds for the rest of a body behind its last event, so that its connection can be used again.
_DRAIN: Final = 0.2


@dataclass(slots=True)
class _Turn:
    """What one turn has come to: its prompt, what is to be stored of it, what was said."""

    session: str
    messages: list[dict[str, Any]]
    progress: Progress
    room: int
    between: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    answers: list[Completion] = field(default_factory=list[Completion])

    def say(self, text: str) -> None:
        """Show a piece of text."""
        if text:
            self.room -= len(text.encode())
            self.progress.chunk(text)


class OpenAiAgent:
    """Answers with a model's words. `most` are the bytes that one stored message may have."""

    provider: str = "openai"

    def __init__(
        self,
        client: AsyncOpenAI,
        dialect: Dialect,
        *,
        tools: SessionTools,
        most: int = DEFAULT_MAX_CONTENT,
    ) -> None:
        self.model: str | None = dialect.settings.model
        self._client = client
        self._dialect = dialect
        self._tools = tools
        self._most = most

    async def answer(
        self, session: str, lines: Sequence[PromptMessage], progress: Progress
    ) -> Reply:
        """The model's reply, after as many rounds of tools as it wants and is allowed."""
        room = max(0, self._most - MARKER_ROOM)
        turn = _Turn(session, self._prompt(lines), progress, room)
        offered = await self._tools.offered() if self._dialect.settings.tools else []
        for rounds_left in reversed(range(MOST_ROUNDS)):
            try:
                answer = await self._complete(turn, offered if rounds_left else [])
            except AgentError as error:
                error.began = bool(turn.answers)
                raise
            turn.answers.append(answer)
            if not answer.calls or not rounds_left:
                break
            await self._use_tools(turn, answer)
        return _concluded(turn)

    def _prompt(self, lines: Sequence[PromptMessage]) -> list[dict[str, Any]]:
        system = self._dialect.settings.system_prompt
        messages = [{"role": "system", "content": system}] if system else []
        return [*messages, *map(_message, lines)]

    async def _use_tools(self, turn: _Turn, answer: Completion) -> None:
        calls = [call for call, _ in answer.calls]
        turn.messages.append(_calling(answer.text, calls))
        turn.between += _stored_calls(calls, answer.text, self._most)
        for call, problem in answer.calls:
            last = call is calls[-1]
            output = await self._use(turn, call, problem, answer.left_out if last else 0)
            turn.messages.append({"role": "tool", "tool_call_id": call.id, "content": output})

    async def _use(self, turn: _Turn, call: ToolCall, problem: str | None, left_out: int) -> str:
        turn.progress.tool_call(call.id, call.name, json.loads(call.arguments))
        if problem is not None:
            output = f"Error: {problem}"
        else:
            output = await self._tools.call(turn.session, call.name, call.arguments)
        if left_out:
            output += f"\n({left_out} more calls were left out: too many at once.)"
        output, stored = _stored_result(call.id, clean(output), self._most)
        turn.progress.tool_result(call.id, call.name, output)
        turn.between.append(("tool", stored))
        return output

    # -- one completion ----------------------------------------------------------------------

    async def _complete(self, turn: _Turn, offered: list[dict[str, Any]]) -> Completion:
        """One answer of the model. Parts that its endpoint refuses are left out, each once."""
        left_out: dict[str, int] = {}
        while True:
            request = self._dialect.request(turn.messages, offered, left_out)
            try:
                answer = await self._ask(turn, request)
            except APIStatusError as error:
                part = self._dialect.refused_part(error, request)
                if part is None or part in left_out:
                    raise _refusal(error) from error
                left_out[part] = error.status_code
            except OpenAIError as error:
                raise _unreachable(error) from error
            else:
                self._dialect.remember(left_out)
                return answer

    async def _ask(self, turn: _Turn, request: dict[str, Any]) -> Completion:
        names = {tool["function"]["name"] for tool in request.get("tools", ())}
        found = Normaliser(turn.room, names, call_room=self._most // 2)
        create = cast("Any", self._client.chat.completions.with_streaming_response).create
        async with create(**request) as response:
            events = JsonEventParser()
            data = _chunks(response.iter_bytes(), events, lambda: found.is_whole)
            async with aclosing(data) as chunks:
                async for chunk in chunks:
                    turn.say(found.add_chunk(chunk))
                    if found.ended:
                        break
        turn.say(found.close())
        return _checked(found.answer())


async def _chunks(
    data: AsyncIterator[bytes], events: JsonEventParser, is_whole: Callable[[], bool]
) -> AsyncGenerator[Any]:
    """The values of a body, up to its end. Raises ProviderError if it breaks off before."""
    try:
        async for piece in data:
            for value in events.feed(piece):
                yield value
            if events.done:
                await _drain(data)
                return
    except AnswerTooLarge:
        raise ProviderError("the provider sent a line without end", reason="endless line") from None
    except Exception as error:
        # The transport's errors are of several libraries. Behind the last word nothing is lost.
        if not is_whole():
            text = f"the provider's answer broke off: {type(error).__name__}"
            raise ProviderError(text, reason="broken stream") from error
    for value in events.close():
        yield value


async def _drain(data: AsyncIterator[bytes]) -> None:
    try:
        async with asyncio.timeout(_DRAIN):
            async for _ in data:
                pass
    except Exception:  # noqa: BLE001 - the answer is complete, only the connection is lost
        return


def _checked(answer: Completion) -> Completion:
    """The answer; raises ProviderError where it is not a whole one."""
    if answer.error is not None:
        text = f"the provider failed: {answer.error.words}"
        raise ProviderError(text, names=answer.error.names, reason="error in the stream")
    if answer.finish is None:
        text = "the provider ended its answer before the model did (no finish_reason)"
        raise ProviderError(text, reason="no finish_reason")
    return answer


def _refusal(error: APIStatusError) -> AgentError:
    found = cast("Any", error)
    return AgentError(
        shortened(str(error.message)),
        status=error.status_code,
        parameter=named_parameter(found.param),
        names=ErrorNames.told(found.code, found.type),
    )


def _unreachable(error: OpenAIError) -> ProviderError:
    kind = type(error.__cause__ or error).__name__
    if isinstance(error, APIConnectionError):
        return ProviderError(f"the provider cannot be reached: {kind}", reason=kind)
    return ProviderError(f"the provider failed: {shortened(str(error))}", reason=kind)


# -- the end of a turn ---------------------------------------------------------------------------


def _concluded(turn: _Turn) -> Reply:
    """The reply of a turn whose last answer uses no tools; raises AgentError for a blank one."""
    answer = turn.answers[-1]
    if answer.is_blank:
        text, reason = _why_blank(answer)
        raise AgentError(text, reason=reason)
    marker = CUT_SHORT if answer.is_cut else WITHHELD if answer.is_filtered else None
    text = answer.text
    if marker is not None:
        turn.say(f"\n\n{marker}")
        text = f"{text}\n\n{marker}"
    return Reply(text, turn.between, _usage(turn.answers))


def _why_blank(answer: Completion) -> tuple[str, str]:
    if answer.is_filtered:
        return "the provider's content filter withheld the answer", "content_filter"
    if answer.is_cut:
        return "the model reached its length limit before it said anything", "length"
    return "the model ended without an answer", "blank answer"


def _stored_calls(calls: Sequence[ToolCall], text: str, most: int) -> list[tuple[str, str]]:
    """What is stored of a step that uses tools. Text that does not fit stands by itself."""
    stored = dump_calls(calls, text)
    if len(stored.encode()) <= most or is_blank(text):
        return [("assistant", stored)]
    return [("assistant", text), ("assistant", dump_calls(calls, None))]


def _stored_result(call_id: str, output: str, most: int) -> tuple[str, str]:
    """The output, cut until it can be stored, and what is stored of it."""
    while len((stored := dump_result(call_id, output)).encode()) > most and output:
        output = output[: len(output) // 2]
    return output, stored


def _usage(answers: Sequence[Completion]) -> Usage:
    """Sums over all calls; None where no call told."""
    asked = [a.input_tokens for a in answers if a.input_tokens is not None]
    said = [a.output_tokens for a in answers if a.output_tokens is not None]
    return Usage(
        sum(asked) if asked else None,
        sum(said) if said else None,
        asked[-1] if asked else None,
    )


# -- the prompt ----------------------------------------------------------------------------------


def _message(line: PromptMessage) -> dict[str, Any]:
    text = clean(line.text)
    if line.role == "tool":
        return {"role": "tool", "tool_call_id": _id(line.answers or ""), "content": text}
    if line.calls:
        return _calling(text, line.calls)
    return {"role": line.role, "content": text}


def _id(call_id: str) -> str:
    return valid_id(call_id) or "call"


def _calling(text: str, calls: Sequence[ToolCall]) -> dict[str, Any]:
    """An assistant's message that uses tools. Other programs store calls too, as they like."""
    found = [
        {
            "id": _id(call.id),
            "type": "function",
            "function": {
                "name": valid_name(clean(call.name)),
                "arguments": read_arguments(clean(call.arguments))[0],
            },
        }
        for call in calls
    ]
    return {"role": "assistant", "content": text or None, "tool_calls": found}
