"""The retention that the settings ask for: again and again, not at a start alone."""

from __future__ import annotations

from sessions import times
from sessions.models import Event, EventType
from sessions.stream.turns import TurnStream
from tests.leading import Leading
from worker.upkeep import Chore, Upkeep

OLD = times.now() - 3 * times.HOUR


async def say(leading: Leading, session: str, **more: object) -> None:
    event = Event(session, EventType.APPEND, session, role="user", content="hello")
    await leading.publish(event._replace(**more))
    await leading.catch_up()


async def retain(leading: Leading, stream: TurnStream, *, ttl_hours: int) -> list[str]:
    """Do what a worker with that setting does when its clock asks; the sessions that are left."""
    upkeep = Upkeep(leading.backend, stream, ttl_hours=ttl_hours)
    upkeep.request(Chore.RETENTION)
    while upkeep.waiting:
        await upkeep.do_one(await leading.backend.cursor())
    return sorted(session.key for session in (await leading.backend.sessions()).items)


async def test_idle_sessions_go_each_time_and_running_ones_stay(
    leading: Leading, stream: TurnStream
):
    await leading.pause()
    await say(leading, "gw_old", at=OLD)
    await say(leading, "telegram_old", at=OLD, channel="telegram.home")
    await say(leading, "running", at=OLD, state="running")
    await say(leading, "young")

    assert await retain(leading, stream, ttl_hours=0) == [
        *("gw_old", "running", "telegram_old", "young"),
    ]
    assert await retain(leading, stream, ttl_hours=1) == ["running", "young"]
    await say(leading, "later", at=OLD)
    assert await retain(leading, stream, ttl_hours=1) == ["running", "young"]
