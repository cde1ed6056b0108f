"""A chat survives whatever its model's provider sends."""

from __future__ import annotations

from sessions.process.settings import Settings
from tests.ingest.chat_streams import generated, survive
from tests.leading import Leading


async def test_any_answer_of_a_model_ends_in_a_stored_reply_or_a_marked_turn(
    settings: Settings, leading: Leading
):
    await survive(settings, generated(40))
