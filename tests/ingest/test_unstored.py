"""Without `session_persistence` nothing of a session is published, stored or kept in Redis."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.responses import JSONResponse

from harness.program import Program
from harness.system import STREAM, SystemUnderTest
from harness.waiting import wait_until
from ingest.failures import CLEARED, FAILED, INTERRUPTED
from ingest.prompt import HISTORY
from ingest.turns.memory import SessionMemory
from sessions import times
from sessions.access.tokens import ensure_admin_token
from sessions.stream.lanes.inbound import Inbound
from tests.ingest.channel_fleet import SECRET, Shop, signed
from tests.ingest.model_server import ModelServer, Script, model_server
from tests.ingest.serving import serving
from tests.walk.site import Site

WORD = "kettle-7391"


class Unstored:
    """A running system, the shop that takes its replies, and its model."""

    def __init__(self, system: SystemUnderTest, shop: Shop, model: ModelServer, config: Path):
        self.system = system
        self.shop = shop
        self.model = model
        self._config = config
        self.web: Program | None = None
        self._number = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Site]:
        """A web process that is killed at the end of the block, if it still runs."""
        token = ensure_admin_token(self.system.workspace)
        self.web = self.system.start("cli.supervision.web", port="0", config=str(self._config))
        headers = {"Authorization": f"Bearer {token}"}
        url = await self.web.address()
        async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as http:
            await wait_until(lambda: _ready(http))
            yield Site(http, self.web)
        await self.web.stop(signal.SIGKILL)

    async def post(self, site: Site, content: str) -> httpx.Response:
        """Bring a message by the shop's webhook."""
        self._number += 1
        raw = json.dumps({"sender": "ada", "content": content}).encode()
        headers = signed(raw, id=f"m{self._number}")
        return await site.http.post("/channels/webhook/shop", content=raw, headers=headers)

    async def ask(self, site: Site, content: str) -> str:
        """Bring a message, and wait for its reply."""
        before = len(self.shop.texts)
        assert (await self.post(site, content)).status_code == 200
        await wait_until(lambda: len(self.shop.texts) > before)
        return self.shop.texts[-1]

    def prompted(self) -> list[str]:
        """What the model was last asked with, without the times in front and the system's part."""
        lines = self.model.requests[-1]["messages"]
        said = [line["content"] for line in lines if line["role"] != "system"]
        return [text.partition("] ")[2] if text.startswith("[2") else text for text in said]

    async def left(self) -> list[bytes]:
        """What Redis has that holds the word: keys whose dump has it."""
        keys = await self.system.redis_says("KEYS", "*")
        dumps = {key: await self.system.redis_says("DUMP", key) for key in keys}
        return [key for key, dump in dumps.items() if dump is not None and WORD.encode() in dump]


async def _ready(http: httpx.AsyncClient) -> bool:
    return (await http.get("/readyz")).is_success


@asynccontextmanager
async def unstored(
    folder: Path, script: Script, *, chats: bool = False, channels: bool = False
) -> AsyncIterator[Unstored]:
    """A system with a leading worker; `chats` and `channels` say what is stored."""
    shop = Shop()
    async with (
        SystemUnderTest.running(folder) as system,
        model_server(script) as (model, url),
        serving(shop.app()) as address,
    ):
        config = folder / "turnstream.toml"
        config.write_text(
            f"""
            [agents.main]
            provider = "openai"
            base_url = "{url}"
            model = "m"
            channels = ["webhook.shop"]
            [gateway]
            session_persistence = {str(chats).lower()}
            [channels]
            session_persistence = {str(channels).lower()}
            [channels.webhook.shop]
            secret = "{SECRET}"
            send_url = "http://{address}/replies"
            """,
            encoding="utf-8",
        )
        config.chmod(0o600)
        await system.worker()
        yield Unstored(system, shop, model, config)


def answer(request: Mapping[str, Any]) -> Any:
    """Repeats the last words; refuses bad ones for good."""
    last = request["messages"][-1]["content"].partition("] ")[2]
    if last == "bad":
        return JSONResponse({"error": {"message": "no", "type": "invalid_request_error"}}, 400)
    return f"heard {last}"


async def test_a_channels_session_is_remembered_and_nothing_of_it_is_left(tmp_path: Path) -> None:
    """Prompts have its history; stream, store, Redis and session tools have nothing."""
    async with unstored(tmp_path, answer) as here, here.serving() as site:
        assert await here.ask(site, WORD) == f"heard {WORD}"
        assert await here.ask(site, "again") == "heard again"
        assert here.prompted() == [WORD, f"heard {WORD}", "again"]
        assert await here.system.redis_says("XLEN", STREAM) == 0
        await wait_until(lambda: _nothing(here))
        assert (await site.http.get("/api/sessions")).json()["sessions"] == []
        listed = await site.http.post("/api/tools/sessions_list", json={})
        assert listed.json()["data"]["sessions"] == []
        files = [file for file in here.system.workspace.rglob("*") if file.is_file()]
        assert [file for file in files if WORD.encode() in file.read_bytes()] == []


async def _nothing(here: Unstored) -> bool:
    """A lane's entry goes with its turn, a moment after the reply."""
    lanes = await here.system.redis_says("KEYS", "turnstream:lane:*")
    return not lanes and not await here.left()


async def test_what_is_taken_back_and_cleared_is_not_remembered(tmp_path: Path) -> None:
    """A message that can never be answered, and all before `/new`."""
    async with unstored(tmp_path, answer) as here, here.serving() as site:
        assert await here.ask(site, "one") == "heard one"
        assert await here.ask(site, "bad") == FAILED
        assert await here.ask(site, "two") == "heard two"
        assert here.prompted() == ["one", "heard one", "two"]
        assert await here.ask(site, "/new") == CLEARED
        assert await here.ask(site, "three") == "heard three"
        assert here.prompted() == ["three"]
        assert await here.system.redis_says("XLEN", STREAM) == 0


async def test_a_chat_is_remembered_for_a_client_that_comes_back(tmp_path: Path) -> None:
    """Also its name is not stored; a message that comes again is not answered twice."""
    async with unstored(tmp_path, answer) as here, here.serving() as site:
        async with site.chat("s1&name=n") as chat:
            assert (await chat.hears("session_start"))["resumed"] is False
            await chat.say(WORD)
            assert (await chat.hears("done"))["full_response"] == f"heard {WORD}"
        async with site.chat("s1&name=n") as chat:
            started = await chat.hears("session_start")
            assert (started["resumed"], started["message_count"]) == (True, 2)
            await chat.say("more")
            await chat.hears("done")
        assert here.prompted() == [WORD, f"heard {WORD}", "more"]
        assert await site.messages("s1") == []
        assert await here.system.redis_says("XLEN", STREAM) == 0


@pytest.mark.parametrize("chats", [True, False])
async def test_chats_and_channels_are_told_apart(tmp_path: Path, chats: bool) -> None:
    """Each has a setting of its own."""
    async with (
        unstored(tmp_path, answer, chats=chats, channels=not chats) as here,
        here.serving() as site,
    ):
        await here.ask(site, "by webhook")
        async with site.chat("s1") as chat:
            await chat.say("by chat")
            await chat.hears("done")
        listed = (await site.http.get("/api/sessions")).json()["sessions"]
        assert [one["session_key"] for one in listed] == (
            ["gw_s1"] if chats else ["webhook_shop_ada_ada"]
        )


async def test_a_message_that_comes_again_is_answered_once(tmp_path: Path) -> None:
    """The memory knows its id, as the store does."""
    async with unstored(tmp_path, answer) as here, here.serving() as site:
        await here.ask(site, "one")
        here._number -= 1
        assert (await here.post(site, "one")).status_code == 200
        assert await here.ask(site, "two") == "heard two"
        assert here.prompted() == ["one", "heard one", "two"]
        assert len(here.model.requests) == 2


async def test_a_turn_of_a_dead_process_is_closed_and_not_run_twice(tmp_path: Path) -> None:
    """Its session is gone with the process; the person is told."""
    started = asyncio.Event()

    async def script(request: Mapping[str, Any]) -> Any:
        if not started.is_set():
            started.set()
            await asyncio.sleep(60)
        return answer(request)

    async with unstored(tmp_path, script) as here:
        async with here.serving() as site:
            assert (await here.post(site, WORD)).status_code == 200
            await asyncio.wait_for(started.wait(), 20)
        async with here.serving() as site:
            await wait_until(lambda: here.shop.texts == [INTERRUPTED], within=40)
            assert await here.ask(site, "new") == "heard new"
        assert here.prompted() == ["new"]
        assert len(here.model.requests) == 2
        assert await here.system.redis_says("XLEN", STREAM) == 0


async def test_answers_that_nobody_could_read_are_refused_before(tmp_path: Path) -> None:
    """The command line reads them from the store; the sentence says what to use instead."""
    async with unstored(tmp_path, answer) as here, here.serving() as site:
        line = {"id": "l1", "content": "hello"}
        refused = await site.http.post("/channels/cli/main", json=line)
        assert refused.status_code == 422
        assert "session_persistence = false" in refused.json()["error"]
        assert here.model.requests == []


# -- the bounds of the memory ---------------------------------------------------------------------


def opening(number: int, *, session: str, text: str) -> Inbound:
    return Inbound(f"{session}-{number}", session, text, "main", times.now(), stored=False)


async def test_the_oldest_messages_and_the_most_silent_sessions_are_forgotten() -> None:
    """However many people write, and however much."""
    memory = SessionMemory(most_sessions=2, most_characters=1000)
    for number in range(HISTORY + 5):
        memory.take([opening(number, session="a", text="x").opening()])
    assert (await memory.history("a", "main")).total == HISTORY
    for session in ("b", "c"):
        memory.take([opening(0, session=session, text="y").opening()])
    assert (await memory.history("a", "main")).total == 0
    assert (await memory.history("b", "main")).total == 1
    memory.take([opening(1, session="c", text="z" * 2000).opening()])
    assert (await memory.history("b", "main")).total == 0
    assert (await memory.history("c", "main")).total == 2


async def test_an_answer_to_what_was_forgotten_is_not_remembered() -> None:
    """A history never begins with it."""
    memory = SessionMemory()
    lost = opening(0, session="a", text="x")
    memory.take([lost.opening(), opening(9, session="a", text="/new").clearing()])
    memory.take([opening(1, session="a", text="y").opening()])
    memory.take([lost.answer("reply", "assistant", "to x", at=times.now())])
    assert [said.content for said in (await memory.history("a", "main")).messages] == ["y"]
