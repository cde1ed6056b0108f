"""Socket Mode against a local Slack: what a connection goes through, unnoticed by anybody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

import ingest.channels.slack.socket as socket_mode
from harness.waiting import wait_until
from ingest.channels.lease import ChannelLease
from proof.slackapi import SlackApp, limited, refused
from sessions.process.settings import Settings
from sessions.stream.redis import connect
from tests.ingest.channel_fleet import ChannelFleet
from tests.ingest.replicas import HeldScript
from tests.ingest.slackapi import PEOPLE, slack, slack_app
from tests.leading import Leading

DIRECT = f"slack_home_D0123DIRECT_{PEOPLE[0]}"


@pytest.fixture
async def found() -> AsyncIterator[tuple[SlackApp, str]]:
    async with slack_app() as found:
        yield found


@pytest.fixture
def app(found: tuple[SlackApp, str]) -> SlackApp:
    return found[0]


@pytest.fixture
async def fleet(
    settings: Settings, leading: Leading, found: tuple[SlackApp, str]
) -> AsyncIterator[ChannelFleet]:
    own = {"mode": "socket", "allowed_users": ["*"]}
    async with ChannelFleet.of(slack(settings, *found, **own)) as fleet:
        yield fleet


async def connected(app: SlackApp) -> None:
    await wait_until(lambda: app.sockets, "a connection", within=20)


async def answered(app: SlackApp, count: int) -> list[str]:
    await wait_until(lambda: len(app.sent) >= count, f"{count} answers", within=60)
    return app.texts


async def taken(app: SlackApp) -> None:
    await wait_until(lambda: not app.unacknowledged, "all is acknowledged", within=60)


async def test_a_message_is_acknowledged_and_answered(fleet: ChannelFleet, app: SlackApp):
    site = await fleet.site()
    app.bring(app.event("hello"))
    assert await answered(app, 1) == ["re: hello"]
    await taken(app)
    assert await fleet.messages(DIRECT) == [("user", "hello"), ("assistant", "re: hello")]
    # Nothing is posted to an app in Socket Mode.
    answer = await app.post(site.http, "/channels/slack/home", app.event("posted"))
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_replicas_share_one_connection(fleet: ChannelFleet, app: SlackApp):
    for _ in range(3):
        await fleet.site()
    app.bring(app.event("hello"))
    assert await answered(app, 1) == ["re: hello"]
    assert app.most_sockets == 1


async def test_a_connection_is_closed_when_the_lease_is_another_ones(
    fleet: ChannelFleet, app: SlackApp, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("ingest.channels.holding._RENEWAL", 0.01)
    await fleet.site()
    await connected(app)
    url, prefix = fleet.settings.redis_url, fleet.settings.turnstream.prefix
    assert url is not None
    key = f"{prefix}socket:slack.home"
    async with aclosing(connect(url)) as redis:
        await redis.execute_command("DEL", key)
        other = ChannelLease(redis, url=url, key=key)
        await wait_until(other.acquire)
        await wait_until(lambda: not app.sockets, "the connection is closed", within=20)
        await other.release()
    await connected(app)


async def test_what_is_refused_for_now_holds_back_its_own_session_only(
    fleet: ChannelFleet, app: SlackApp
):
    site = await fleet.site()
    held = HeldScript()
    site.agent.script = held
    for number in range(10):
        app.bring(app.event(f"n{number}"))
    app.bring(app.event("other", user=PEOPLE[1], channel="D0123OTHER"))
    # Eight have a place in the lane; the ninth waits, and with it the one behind it.
    await wait_until(lambda: len(app.unacknowledged) == 2, within=20)
    await wait_until(lambda: held.waiting == 2)
    held.open()
    texts = await answered(app, 11)
    assert [text for text in texts if "n" in text] == [f"re: n{number}" for number in range(10)]
    await taken(app)
    assert len(await fleet.messages(DIRECT)) == 20


async def test_a_silent_connection_is_noticed_and_replaced(
    fleet: ChannelFleet, app: SlackApp, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(socket_mode, "SILENCE", 1.0)
    await fleet.site()
    await connected(app)
    silent = app.sockets[0]
    silent.is_silent = True
    app.bring(app.event("anybody?"))
    assert await answered(app, 1) == ["re: anybody?"]
    assert silent not in app.sockets


async def test_a_refused_connection_is_tried_again(fleet: ChannelFleet, app: SlackApp):
    app.unopened = [refused("internal_error"), limited(1), refused("socket_mode_not_enabled")]
    await fleet.site()
    app.bring(app.event("hello"))
    assert await answered(app, 1) == ["re: hello"]
    assert app.unopened == []


async def test_each_outage_is_said_once(
    fleet: ChannelFleet,
    app: SlackApp,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setattr(socket_mode, "_STEADY", 0.5)
    app.unopened = [refused("internal_error"), refused("internal_error")]
    await fleet.site()
    for _ in range(2):
        await connected(app)
        await asyncio.sleep(1)
        [session] = app.sockets
        await session.close()
        await wait_until(lambda session=session: session not in app.sockets)
    await connected(app)
    said = [one for one in caplog.messages if "has no connection now" in one]
    assert [one.rpartition(": ")[2] for one in said] == [
        *("Slack answers internal_error", "Slack closed the connection (CLOSE)"),
        "Slack closed the connection (CLOSE)",
    ]


async def test_what_cannot_be_read_does_not_end_the_connection(
    fleet: ChannelFleet, app: SlackApp, caplog: pytest.LogCaptureFixture
):
    site = await fleet.site()
    await connected(app)
    [session] = app.sockets
    app.junk = ["{", "[]", "7", "", '{"type": "news"}', '{"type": "events_api"}', "[" * 100_000]
    app.bring({**app.event("hidden words"), "event": {"type": 7}})
    app.bring({"type": "event_callback"})
    app.bring(app.wrapped({"type": "app_uninstalled"}))
    app.bring(app.event("hello"))
    assert await answered(app, 1) == ["re: hello"]
    await taken(app)
    assert app.sockets == [session]
    counts = {what.value: count for what, _, count in site.services.troubles}
    assert counts == {"channel_unreadable_updates": 2}
    assert "hidden words" not in caplog.text
    assert "install it again" in caplog.text


@pytest.mark.parametrize(
    "rounds", [6, pytest.param(50, marks=[pytest.mark.endurance, pytest.mark.timeout(300)])]
)
async def test_each_message_is_one_turn_and_one_reply_whatever_becomes_of_the_connections(
    fleet: ChannelFleet, app: SlackApp, rounds: int
):
    sites = [await fleet.site() for _ in range(2)]
    people = [f"U{number:03}" for number in range(20)]
    accidents = asyncio.create_task(_accidents(app, rounds // 2))
    for round in range(rounds):
        for person in people:
            app.bring(app.event(f"{round} of {person}", user=person, channel=f"D{person}"))
        await asyncio.sleep(0.5)
    await accidents
    total = rounds * len(people)
    await answered(app, total)
    await taken(app)
    for person in people:
        mine = [one["text"] for one in app.sent if one["channel"] == f"D{person}"]
        assert mine == [f"re: {round} of {person}" for round in range(rounds)]
    asked = [text for site in sites for text in site.agent.asked]
    assert len(asked) == len(set(asked)) == total


async def _accidents(app: SlackApp, count: int) -> None:
    """Refresh, silence, cut and refuse connections."""
    for _ in range(count):
        await app.refresh()
        await asyncio.sleep(1.5)
        for session in tuple(app.sockets):
            session.is_silent = True
        await asyncio.sleep(0.3)
        app.unopened = [limited(1)]
        for session in tuple(app.sockets):
            await session.close()
        await asyncio.sleep(1.5)
