"""Whatever a model's provider sends, many times: read clean, and survived by the chat."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as profile

from sessions.process.settings import Settings
from tests.ingest.chat_streams import generated, survive
from tests.ingest.chunks import streams
from tests.ingest.normalised import check
from tests.leading import Leading

pytestmark = [pytest.mark.endurance, pytest.mark.timeout(1800)]


@profile(max_examples=20_000, deadline=None)
@given(streams())
def test_20000_sequences_of_chunks_become_clean_types(chunks: list[Any]):
    check(chunks)


async def test_1000_turns_of_generated_answers_are_survived_by_the_chat(
    settings: Settings, leading: Leading
):
    await survive(settings, generated(1000))
