"""The agent that answers with the user's own text: needs no key and no network."""

from __future__ import annotations

from collections.abc import Sequence

from ingest.agents.base import Progress, Reply
from ingest.prompt import PromptMessage


class EchoAgent:
    """Repeats what was said last."""

    provider: str = "echo"
    model: str | None = None

    async def answer(
        self, session: str, lines: Sequence[PromptMessage], progress: Progress
    ) -> Reply:
        """The last line's text as it was written, in one piece."""
        text = lines[-1].written
        progress.chunk(text)
        return Reply(text)
