"""What an entry point accepts can be stored, listed, searched and shown, on every backend."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import quote

import httpx
import pytest

from cli.stores.upkeep import check_store
from sessions.process.settings import Settings
from tests.cli.planted import changing
from tests.ingest.channel_fleet import ChannelFleet, IngestSite
from tests.leading import Leading

# A search through the night takes another seed and more of them.
EXAMPLES: Final = 120
BATCH: Final = 20
_TIMES: Final = (
    *("9999-12-31T23:59:59-23:59", "9998-12-31T23:59:59.999999Z", "9998-12-31T23:59:59-12:00"),
    *("1000-01-01T00:00:00Z", "1000-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z"),
    *("1969-12-31T23:59:59.999999+23:59", "3001-02-28T00:00:00Z", "2026-02-30T00:00:00Z"),
    *("2026-06-30T23:59:60Z", "2026-01-01T00:00:00", "nonsense", ""),
)
_NUMBERS: Final = (0, -1, 2**53, 2**63, 2**64, -(2**63) - 1, 10**400, 1.5, True, None)
_TEXTS: Final = (
    *(
        "kettle",
        "\0",
        "a\0b",
        "\ud83d\ude00",
        "\u202ekettle",
        "\ufeff",
        "\ud83d",
        "\uffff",
        "\U0010ffff",
    ),
    *("x" * 4000, "\n\r\u2028", '"\\', "''; --", "kettle*", "é" * 255, "ﬃ", "İ", "\x1b[2J"),
)


@pytest.fixture(params=["sqlite", "jsonl"])
def settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """The settings with each backend that keeps something."""
    document = settings.model_dump()
    document["channels"]["session_backend"] = request.param
    return Settings.model_validate(document)


@pytest.fixture
async def fleet(settings: Settings, leading: Leading) -> AsyncIterator[ChannelFleet]:
    async with ChannelFleet.of(settings) as fleet:
        yield fleet


@pytest.fixture
async def site(fleet: ChannelFleet) -> IngestSite:
    return await fleet.site()


def some_event(dice: random.Random, number: int) -> dict[str, Any]:
    """An append with values that are unlikely."""
    values = (*_TIMES, *_TEXTS, *_NUMBERS)
    event: dict[str, Any] = {
        **{"id": f"e{number}", "type": "append", "role": "user"},
        **{"session": f"s{number % 7}", "content": f"kettle {number}"},
        **{"at": dice.choice((*_TIMES, "2026-05-01T12:00:00Z"))},
    }
    for name in dice.sample(("session", "content", "role", "turn", "name", "state", "room"), 2):
        event[name] = dice.choice(values)
    return event


async def publish(site: IngestSite, token: str, event: dict[str, Any]) -> str | None:
    """The session that the event is stored in; None if it is refused."""
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    # ASCII, so that half of a surrogate pair can be sent too.
    answer = await site.http.post("/api/events", content=json.dumps(event), headers=headers)
    assert answer.status_code in (202, 400, 422), answer.text
    return str(event["session"]) if answer.status_code == 202 else None


async def show(admin: httpx.AsyncClient, session: str) -> None:
    """Ask every entry point that reads; each must answer."""
    for name, arguments in (("sessions_list", {}), ("sessions_search", {"query": "kettle"})):
        answer = await admin.post(f"/api/tools/{name}", json=arguments)
        assert (answer.status_code, answer.json()["success"]) == (200, True), answer.text
    # The tool refuses keys without a letter or digit, as upstream does; the resource does not.
    history = f"/api/sessions/{quote(session, safe='')}/messages?limit=1000"
    for path in (history, "/api/sessions", "/api/sessions?q=kettle", "/api/sessions/running"):
        assert (await admin.get(path)).status_code == 200, path


async def test_whatever_is_accepted_can_be_listed_read_and_searched(
    site: IngestSite, fleet: ChannelFleet
) -> None:
    dice = random.Random(42)
    accepted: set[str] = set()
    for number in range(EXAMPLES):
        session = await publish(site, fleet.admin_token, some_event(dice, number))
        accepted |= {session} if session is not None else set()
        if number % BATCH == BATCH - 1:
            for key in sorted(accepted):
                await show(fleet.admin, key)
    assert len(accepted) > 7
    letters = (await fleet.admin.get("/api/dead-letters")).json()["dead_letters"]
    assert letters == []


@pytest.mark.parametrize("micros", [2**63 - 1, -(2**63), 253402300799000000 + 86_340_000_000])
async def test_a_bad_time_that_is_stored_already_hides_nothing_and_is_reported(
    site: IngestSite, fleet: ChannelFleet, settings: Settings, micros: int
) -> None:
    session = await publish(
        site,
        fleet.admin_token,
        {"id": "e", "type": "append", "session": "s", "role": "user", "content": "kettle"},
    )
    assert session == "s"
    await show(fleet.admin, "s")
    database = {"sqlite": "turnstream.db", "jsonl": "index.db"}[settings.channels.session_backend]
    with changing(settings.workspace, database) as connection:
        connection.execute("UPDATE messages SET created_at = ?", (micros,))
        connection.execute("UPDATE sessions SET last_activity = ?, created_at = ?", (micros,) * 2)
    await show(fleet.admin, "s")
    health = check_store(settings)
    kind = "times that cannot be shown as they are"
    assert health.examples[kind] == [
        ["messages", "s", 1, micros],
        ["sessions", "s", None, micros],
        ["sessions", "s", None, micros],
    ]
