"""Step 3: you read what you wrote.

A program that publishes gets a *position*: a mark on the stream. A read waits until the store has
come so far, two seconds at most. If the worker is too slow or away, the answer is 503, and says
when to try again. A reader never gets old data without having asked for it.

Read on in docs/http-api.md, "Fresh reads and positions".
"""

from __future__ import annotations

from harness.system import SystemUnderTest
from harness.waiting import wait_until
from tests.walk.site import Site, running_site

MESSAGES = "/api/sessions/kitchen/messages"


async def publish(site: Site, id: str, content: str) -> str:
    """Publish a message over HTTP; its position."""
    event = {"id": id, "type": "append", "session": "kitchen", "role": "user", "content": content}
    answer = await site.http.post("/api/events", json=event)
    # 202: the event is safe in Redis. It is not in the store yet.
    assert answer.status_code == 202
    return answer.json()["position"]


async def test_a_read_waits_for_what_was_published_before_it(system: SystemUnderTest) -> None:
    worker = await system.worker()
    async with running_site(system) as site:
        await publish(site, "milk-1", "We need milk.")
        assert await site.messages("kitchen") == [("user", "We need milk.")]

        # Without a worker the second message stays on the stream. A read says so.
        await worker.stop()
        position = await publish(site, "milk-2", "Two bottles.")
        late = await site.http.get(MESSAGES, params={"after": position})
        assert late.status_code == 503
        assert late.json()["code"] == "store_behind"
        assert int(late.headers["Retry-After"]) >= 1

        # A program that prefers an old answer to none can ask for it.
        old = await site.http.get(MESSAGES, params={"consistency": "any"})
        assert [row["content"] for row in old.json()["messages"]] == ["We need milk."]

        # A worker comes back, and nothing was lost.
        await system.worker()

        async def is_there() -> bool:
            answer = await site.http.get(MESSAGES, params={"after": position})
            return answer.is_success and len(answer.json()["messages"]) == 2

        await wait_until(is_there)
