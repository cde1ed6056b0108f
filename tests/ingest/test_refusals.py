"""A provider's refusal counts by its status, whatever its body is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi.responses import Response

from ingest.failures import FAILED
from sessions.process.settings import Settings
from tests.ingest.model_chat import model_chat
from tests.ingest.model_server import broken, endless
from tests.leading import Leading

BODIES: dict[str, Callable[[int], Response]] = {
    "breaks off": lambda status: broken("half of", status=status),
    "is no gzip": lambda status: Response(b"plain", status, {"content-encoding": "gzip"}),
    "is no text": lambda status: Response(b"\xff\0", status, media_type="text/x; charset=base64"),
    "has no end": lambda status: endless(status, size=10_000_000),
    "does not go on": lambda status: endless(status, size=1),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_status_is_known_though_its_body_cannot_be_read(
    settings: Settings,
    leading: Leading,
    caplog: pytest.LogCaptureFixture,
    body: Callable[[int], Response],
):
    statuses = iter((400, 503))
    async with model_chat(settings, lambda _: body(next(statuses)), retries=0) as place:
        await place.chat("never to be answered")
        assert await place.stored() == []
        await place.chat("perhaps later")
        assert await place.stored() == [("user", "perhaps later"), ("assistant", FAILED)]
    lines = [record.getMessage() for record in caplog.records]
    assert [line.rpartition("provider's ")[2] for line in lines if "failed: agent" in line] == [
        "status 400: Bad Request",
        "status 503: Service Unavailable",
    ]
    own = [record for record in caplog.records if record.name.startswith("ingest")]
    assert not [record for record in own if record.exc_info]
