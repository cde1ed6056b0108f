"""What an agent is to a turn: it reads a history, says something, and may use tools meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ingest.prompt import PromptMessage


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens over all calls of a turn; None where the provider does not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    last_input_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """How a turn ended well. `between` are the tool turns before the text, as (role, content)."""

    text: str
    between: Sequence[tuple[str, str]] = ()
    usage: Usage = field(default_factory=Usage)


class Progress(Protocol):
    """Whom an agent tells what it does, while it does it. Calls return at once."""

    def chunk(self, text: str) -> None:
        """A piece of the answer's text."""
        ...

    def tool_call(self, id: str, name: str, arguments: Mapping[str, Any]) -> None:
        """The agent uses a tool."""
        ...

    def tool_result(self, id: str, name: str, output: str) -> None:
        """The tool answered."""
        ...


class Agent(Protocol):
    """Answers a conversation."""

    @property
    def provider(self) -> str:
        """What it runs on, such as `echo`."""
        ...

    @property
    def model(self) -> str | None:
        """The model's name, where it has one."""
        ...

    async def answer(
        self, session: str, lines: Sequence[PromptMessage], progress: Progress
    ) -> Reply:
        """The reply to the last line. Raises AgentError; may be cancelled at any await."""
        ...
