"""What an agent is to a turn: it reads a history, says something, and may use tools meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ingest.prompt import PromptMessage


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens over all calls of a turn; None if the provider does not say."""

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
    """Takes what an agent does while it does it, for those who look on. Calls return at once."""

    def chunk(self, text: str) -> None:
        """The next piece of the answer's text. It is kept if the turn fails."""
        ...

    def tool_call(self, id: str, name: str, arguments: Mapping[str, Any]) -> None:
        """The agent uses a tool. `id` is the call's own, of the agent's choice."""
        ...

    def tool_result(self, id: str, name: str, output: str) -> None:
        """The tool answered the call of that id."""
        ...


class Agent(Protocol):
    """Answers conversations. Several sessions may ask at the same time, each for one turn."""

    @property
    def provider(self) -> str:
        """What it runs on, such as `echo`."""
        ...

    @property
    def model(self) -> str | None:
        """The model's name, None if it has none."""
        ...

    async def answer(
        self, session: str, lines: Sequence[PromptMessage], progress: Progress
    ) -> Reply:
        """The reply to the last line, which is the user's; lines are oldest first.

        Raises AgentError if there is none. It may be cancelled at any await, if the user stops the
        turn or it takes too long, and may be asked again for a turn that a defect ended.
        """
        ...
