"""The generic webhook: what is taken, what is refused, and the one reply that goes out."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from harness.waiting import wait_until
from ingest.failures import FAILED, AgentError
from sessions.errors import ConfigError
from sessions.process.settings import Settings
from sessions.stream.lanes.inbound import Inbound
from tests.ingest.channel_fleet import (
    SECRET,
    ChannelFleet,
    IngestSite,
    Shop,
    dispatching,
    free,
    signed,
    with_channels,
)
from tests.ingest.replicas import HeldScript
from tests.ingest.serving import serving
from tests.leading import Leading

KEY = "webhook_shop_ada_ada"


@pytest.fixture
async def shop() -> Shop:
    return Shop()


@pytest.fixture
async def fleet(settings: Settings, leading: Leading, shop: Shop) -> AsyncIterator[ChannelFleet]:
    async with serving(shop.app()) as address:
        changed = with_channels(
            settings,
            webhook={"shop": {"secret": SECRET, "send_url": f"http://{address}/replies"}},
        )
        async with ChannelFleet.of(changed) as fleet:
            yield fleet


@pytest.fixture
async def site(fleet: ChannelFleet) -> IngestSite:
    return await fleet.site()


class TestMessage:
    async def test_a_signed_message_is_answered_and_the_reply_is_posted_back_signed(
        self, fleet: ChannelFleet, site: IngestSite, shop: Shop
    ):
        answer = await site.post("Is the kettle on?", id="msg_1")
        assert answer.status_code == 200
        [accepted] = answer.json()["accepted"]
        assert accepted["session"] == KEY
        await wait_until(lambda: shop.replies)

        assert shop.replies == [
            {
                "content": "re: Is the kettle on?",
                "recipient": "ada",
                "status": "replied",
                "turn": accepted["id"],
                "session": KEY,
            }
        ]
        [(headers, raw)] = shop.tries
        assert headers["webhook-id"] == f"{accepted['id']}:reply"
        text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + raw
        digest = hmac.new(SECRET.encode(), text, hashlib.sha256).digest()
        assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
        assert await fleet.messages(KEY) == [
            ("user", "Is the kettle on?"),
            ("assistant", "re: Is the kettle on?"),
        ]

    async def test_the_session_has_its_channel_room_and_sender_and_belongs_to_the_channels_agent(
        self, fleet: ChannelFleet, site: IngestSite, shop: Shop
    ):
        await site.post(thread_id="t1")
        await wait_until(lambda: shop.replies)
        assert shop.replies[0]["thread_id"] == "t1"
        row = await fleet.row("webhook_shop_t1_t1_ada")
        assert (row["channel_id"], row["room_id"], row["sender_id"], row["agent_alias"]) == (
            *("webhook.shop", "t1", "ada", "anna"),
        )

    async def test_the_answer_comes_when_redis_has_the_message_not_when_the_agent_is_done(
        self, site: IngestSite, shop: Shop
    ):
        gate = HeldScript()
        site.agent.script = gate
        assert (await site.post()).status_code == 200
        await wait_until(lambda: gate.waiting)
        assert shop.replies == []
        gate.open()
        await wait_until(lambda: shop.replies)

    async def test_what_the_model_wrote_before_it_failed_is_sent_as_the_session_keeps_it(
        self, fleet: ChannelFleet, site: IngestSite, shop: Shop
    ):
        async def script(session: str, lines: Any, progress: Any) -> Any:
            progress.chunk("half an answer")
            raise AgentError("sk-secret is overloaded", status=400)

        site.agent.script = script
        await site.post()
        await wait_until(lambda: shop.replies)
        kept = f"half an answer\n\n{FAILED}"
        assert (shop.replies[0]["content"], shop.replies[0]["status"]) == (kept, "failed")
        assert await fleet.messages(KEY) == [("user", "hello"), ("assistant", kept)]

    async def test_a_failure_is_told_without_the_providers_words(
        self, fleet: ChannelFleet, site: IngestSite, shop: Shop
    ):
        async def script(*_: Any) -> Any:
            raise AgentError("Incorrect API key provided: sk-secret", status=401)

        site.agent.script = script
        await site.post()
        await wait_until(lambda: shop.replies)
        assert (shop.replies[0]["content"], shop.replies[0]["status"]) == (FAILED, "failed")
        assert await fleet.messages(KEY) == [("user", "hello"), ("assistant", FAILED)]


# The page shows what its readers have; `make test` itself needs neither.
@pytest.mark.skipif(
    not (which("curl") and which("openssl")), reason="the example is for curl and openssl"
)
async def test_the_example_of_the_page_works_as_it_stands(fleet: ChannelFleet, site: IngestSite):
    page = (Path(__file__).parents[2] / "docs" / "channels.md").read_text(encoding="utf-8")
    script = page.partition("```sh\n")[2].partition("```")[0]
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", script.replace("http://127.0.0.1:42617", site.url)),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    [taken] = json.loads(out)["accepted"]
    assert taken["session"] == KEY
    await wait_until(lambda: site.agent.asked == ["Is it open?"])


class TestRefusal:
    async def test_an_unknown_type_or_alias_is_404(self, site: IngestSite):
        assert (await site.post(alias="other")).status_code == 404
        assert (await site.http.post("/channels/pigeon/home")).status_code == 404

    async def test_a_wrong_or_missing_signature_is_401_and_stores_nothing(
        self, fleet: ChannelFleet, site: IngestSite
    ):
        wrong = await site.post(secret="some other secret of some length")
        assert (wrong.status_code, wrong.json()["code"]) == (401, "wrong_signature")
        missing = await site.http.post("/channels/webhook/shop", json={"content": "x"})
        assert (missing.status_code, missing.json()["code"]) == (401, "wrong_signature")
        assert await fleet.messages(KEY) == []

    @pytest.mark.parametrize("seconds", [-301, 302])
    async def test_a_timestamp_that_is_not_of_now_is_401(self, site: IngestSite, seconds: int):
        answer = await site.post(at=time.time() + seconds)
        assert (answer.status_code, answer.json()["code"]) == (401, "old_timestamp")

    async def test_a_body_that_is_sent_again_under_another_signature_is_refused(
        self, site: IngestSite, shop: Shop
    ):
        raw = json.dumps({"sender": "ada", "content": "pay 10"}).encode()
        headers = signed(raw, id="msg_1")
        path = "/channels/webhook/shop"
        assert (await site.http.post(path, content=raw, headers=headers)).status_code == 200
        await wait_until(lambda: shop.replies)
        of_another_id = {**headers, "webhook-id": "msg_2"}
        of_another_time = {**headers, "webhook-timestamp": str(int(time.time()) + 1)}
        of_another_key = signed(raw, id="msg_1", secret="some other secret of some length")
        for changed in (of_another_id, of_another_time, of_another_key):
            answer = await site.http.post(path, content=raw, headers=changed)
            assert (answer.status_code, answer.json()["code"]) == (401, "wrong_signature")
        other = raw.replace(b"10", b"99")
        answer = await site.http.post(path, content=other, headers=headers)
        assert answer.status_code == 401
        assert site.agent.asked == ["pay 10"]

    @pytest.mark.parametrize(
        ("raw", "code"),
        [
            (b"{", "invalid_json"),
            (b"\xff\xfe", "invalid_json"),
            (b"[]", "broken_payload"),
            (b'{"sender": "ada"}', "broken_payload"),
            (b'{"sender": "", "content": "x"}', "broken_payload"),
            (b'{"sender": "ada", "content": 7}', "broken_payload"),
            (b'{"sender": "ada", "content": "x", "thread_id": 7}', "broken_payload"),
        ],
    )
    async def test_a_broken_body_is_400(self, site: IngestSite, raw: bytes, code: str):
        answer = await site.http.post(
            "/channels/webhook/shop", content=raw, headers=signed(raw, id="msg_1")
        )
        assert (answer.status_code, answer.json()["code"]) == (400, code)

    async def test_a_body_of_more_than_a_mebibyte_is_413(self, site: IngestSite):
        raw = b" " * (1024 * 1024 + 1)
        answer = await site.http.post("/channels/webhook/shop", content=raw)
        assert answer.status_code == 413

    async def test_a_text_that_no_turn_could_hold_is_422(self, site: IngestSite):
        answer = await site.post("x" * (256 * 1024 + 1))
        assert (answer.status_code, answer.json()["code"]) == (422, "too_large")

    async def test_the_ninth_message_at_once_is_429_with_retry_after(self, site: IngestSite):
        gate = HeldScript()
        site.agent.script = gate
        answers = [await site.post(f"m{number}") for number in range(9)]
        assert [answer.status_code for answer in answers] == [200] * 8 + [429]
        assert int(answers[-1].headers["retry-after"]) >= 1
        gate.open()

    async def test_an_old_key_is_taken_while_it_is_configured(self, fleet: ChannelFleet):
        before = "the secret that was used before"
        document = fleet.settings.model_dump()
        document["channels"]["webhook"]["shop"]["previous_secret"] = before
        site = await fleet.site(settings=Settings.model_validate(document))
        assert (await site.post(secret=before)).status_code == 200


class TestRedelivery:
    async def test_a_message_whose_turn_failed_is_not_answered_again(
        self, fleet: ChannelFleet, site: IngestSite, shop: Shop
    ):
        async def script(*_: Any) -> Any:
            raise AgentError("not allowed", status=400)

        site.agent.script = script
        await site.post(id="m1")
        await wait_until(lambda: shop.replies)
        await free(site, KEY)
        site.agent.script = None
        await site.post(id="m1")
        await free(site, KEY)
        assert shop.texts == [FAILED]
        assert await fleet.messages(KEY) == []


class TestReply:
    async def test_a_receiver_that_fails_is_tried_again_with_the_same_id(
        self, site: IngestSite, shop: Shop
    ):
        shop.refusals = [503, 429]
        await site.post()
        await wait_until(lambda: shop.replies)
        assert len({headers["webhook-id"] for headers, _ in shop.tries}) == 1
        assert len(shop.tries) == 3

    async def test_a_receiver_that_refuses_is_not_asked_again_and_the_session_goes_on(
        self, fleet: ChannelFleet, site: IngestSite, shop: Shop
    ):
        shop.refusals = [410]
        await site.post("one")
        await site.post("two")
        await wait_until(lambda: shop.replies)
        assert shop.texts == ["re: two"]
        assert ("assistant", "re: one") in await fleet.messages(KEY)

    async def test_a_redirect_is_not_followed(self, site: IngestSite, shop: Shop):
        shop.refusals = [307]
        await site.post()
        await free(site, KEY)
        assert (len(shop.tries), shop.replies) == (1, [])

    async def test_a_reply_that_a_dead_replica_left_is_sent_from_the_store(
        self, fleet: ChannelFleet, site: IngestSite, shop: Shop
    ):
        answer = await site.post(id="m1")
        await wait_until(lambda: shop.replies)
        [taken] = answer.json()["accepted"]
        inbound = Inbound(
            *(taken["id"], KEY, "hello", "anna", 0),
            reply_to="webhook.shop",
            address="",
            sender="ada",
        )
        async with dispatching(fleet, site) as (dispatch, redis):
            await dispatch.deliver(inbound, None)
            assert len(shop.tries) == 1, "it was noted as sent"
            await redis.execute_command(
                "DEL", f"{fleet.settings.turnstream.prefix}sent:{inbound.id}"
            )
            await dispatch.deliver(inbound, None)
        assert shop.texts == ["re: hello", "re: hello"]
        assert len({headers["webhook-id"] for headers, _ in shop.tries}) == 1

    async def test_a_failed_turn_that_a_dead_replica_left_is_sent_as_failed(
        self, fleet: ChannelFleet, site: IngestSite, shop: Shop
    ):
        async def script(*_: Any) -> Any:
            raise AgentError("Incorrect API key provided: sk-secret", status=401)

        site.agent.script = script
        [taken] = (await site.post(id="m1")).json()["accepted"]
        await wait_until(lambda: shop.replies)
        inbound = Inbound(
            *(taken["id"], KEY, "hello", "anna", 0),
            reply_to="webhook.shop",
            address="",
            sender="ada",
        )
        async with dispatching(fleet, site) as (dispatch, redis):
            sent = f"{fleet.settings.turnstream.prefix}sent:{inbound.id}"
            await wait_until(lambda: site.services.queue.running(inbound.lane) is None)
            await redis.execute_command("DEL", sent)
            await dispatch.deliver(inbound, None)
        found = [(reply["content"], reply["status"]) for reply in shop.replies]
        assert found == [(FAILED, "failed")] * 2

    async def test_without_a_send_url_the_reply_is_read_through_the_api(
        self, fleet: ChannelFleet, settings: Settings
    ):
        silent = with_channels(settings, webhook={"shop": {"secret": SECRET}})
        site = await fleet.site(settings=silent)
        [taken] = (await site.post()).json()["accepted"]

        async def is_applied() -> bool:
            answer = await fleet.admin.get(f"/api/outcomes/{taken['id']}:reply")
            return answer.status_code == 200 and answer.json()["outcome"] == "applied"

        await wait_until(is_applied)
        messages = await fleet.rows(taken["session"])
        assert messages[-1]["content"] == "re: hello"


class TestSettings:
    @pytest.mark.parametrize(
        ("own", "culprit"),
        [
            ({}, r"channels\.webhook\.shop: set secret"),
            ({"secret": "short"}, r"channels\.webhook\.shop\.secret must have 16 bytes.*has 5"),
            ({"secret": "whsec_MDEyMzQ1Njc4OWFiY2Rl"}, r"shop\.secret must have 16 bytes.*has 15"),
            ({"secret": SECRET, "previous_secret": "whsec_"}, r"previous_secret .* has 0"),
            ({"secret": "whsec_not base64 at all"}, r"shop\.secret: the text after whsec_"),
            ({"secret": "whsec_ÄÖÜ"}, r"shop\.secret: the text after whsec_"),
            ({"secret_env": "NO_SUCH_VARIABLE"}, r"the variable NO_SUCH_VARIABLE is not set"),
            ({"secret": SECRET, "secret_env": "HOME"}, r"set one of them"),
            ({"secret": SECRET, "send_url": "file:///etc/passwd"}, r"shop\.send_url must be"),
        ],
    )
    async def test_a_channel_that_is_wrong_stops_the_start_and_says_where(
        self, settings: Settings, leading: Leading, own: dict[str, str], culprit: str
    ):
        async with ChannelFleet.of(settings) as fleet:
            with pytest.raises(ConfigError, match=culprit) as caught:
                await fleet.site(settings=with_channels(settings, webhook={"shop": own}))
        assert SECRET not in str(caught.value)

    async def test_a_channel_that_no_agent_has_stops_the_start(
        self, settings: Settings, leading: Leading
    ):
        changed = with_channels(settings, webhook={"lost": {"secret": SECRET}})
        async with ChannelFleet.of(settings) as fleet:
            with pytest.raises(ConfigError, match=r"no agent has webhook\.lost"):
                await fleet.site(settings=changed)

    async def test_a_channel_that_is_not_enabled_is_not_there(
        self, settings: Settings, leading: Leading
    ):
        off = with_channels(settings, webhook={"shop": {"enabled": False}})
        async with ChannelFleet.of(settings) as fleet:
            site = await fleet.site(settings=off)
            assert (await site.post()).status_code == 404

    def test_nothing_that_is_printed_of_the_settings_shows_a_secret(self, settings: Settings):
        changed = with_channels(
            settings,
            webhook={"shop": {"secret": SECRET}},
            telegram={"home": {"bot_token": "123:SECRET", "secret_token": "SECRET"}},
        )
        assert "SECRET" not in repr(changed)
        assert SECRET not in f"{changed} {changed.model_dump()}"

    def test_a_value_of_the_wrong_kind_is_named_without_its_secret(self, settings: Settings):
        with pytest.raises(ConfigError, match=r"debounce_ms") as caught:
            settings.replace(debounce_ms="no number")
        assert "SECRET" not in str(caught.value)
