"""A Slack app that is posted to, against a local Slack, through Slack's own client library."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse

from harness.waiting import wait_until
from ingest.agents.base import Reply
from ingest.channels.base import ChannelMessage
from ingest.channels.keys import session_key
from ingest.failures import CLEARED
from proof.slackapi import ALL_SCOPES, SlackApp, limited, refused
from sessions.errors import ConfigError
from sessions.process.settings import Settings
from tests.ingest.channel_fleet import ChannelFleet, IngestSite, free
from tests.ingest.slackapi import PEOPLE, slack, slack_app
from tests.leading import Leading

PATH = "/channels/slack/home"
ADA = PEOPLE[0]
DIRECT = f"slack_home_D0123DIRECT_{ADA}"
# From the samples of https://github.com/slackapi/java-slack-sdk (MIT), shortened.
SHAPES: dict[str, Any] = json.loads(
    (Path(__file__).parent / "slack_shapes.json").read_text(encoding="utf-8")
)
# What is made of each shape when its texts are filled in: the message of a person, or nothing.
SPOKEN = {"AppMention", "MessageFileShare", "MessageMe", "Message", "MessageThreadBroadcast"}


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
    async with ChannelFleet.of(slack(settings, *found)) as fleet:
        yield fleet


@pytest.fixture
async def site(fleet: ChannelFleet) -> IngestSite:
    return await fleet.site()


def in_channel(app: SlackApp, text: str, **more: Any) -> dict[str, Any]:
    """A message in a channel."""
    return app.event(text, **{"channel": "C0123ROOM", "channel_type": "channel", **more})


def key_in_thread(ts: str, user: str = ADA) -> str:
    """The session of a thread and its author."""
    said = ChannelMessage("i", "t", sender=user, target="C0123ROOM", address="", at=0, thread=ts)
    return session_key("slack.home", said)


async def answers(app: SlackApp, count: int) -> list[str]:
    await wait_until(lambda: len(app.sent) >= count, f"{count} answers")
    return app.texts


class TestMessages:
    async def test_a_direct_message_is_the_persons_session(
        self, fleet: ChannelFleet, site: IngestSite, app: SlackApp
    ):
        said = app.event("Is the kettle on &amp; hot?", ts="1441645532.000100")
        answer = await app.post(site.http, PATH, said)
        assert answer.status_code == 200
        assert await answers(app, 1) == ["re: Is the kettle on &amp; hot?"]
        sent = app.sent[0]
        assert (sent["channel"], sent.get("thread_ts")) == ("D0123DIRECT", None)
        assert sent["metadata"]["event_type"] == "turnstream_reply"
        assert sent["metadata"]["event_payload"]["id"].endswith(":reply")
        assert (await fleet.messages(DIRECT))[0] == ("user", "Is the kettle on & hot?")
        row = await fleet.row(DIRECT)
        assert (row["channel_id"], row["room_id"], row["sender_id"], row["agent_alias"]) == (
            *("slack.home", "D0123DIRECT", ADA, "anna"),
        )
        assert row["created_at"].startswith("2015-09-07T17:05:32.0001")

    async def test_the_same_event_again_is_one_turn_whatever_the_retry_headers_say(
        self, fleet: ChannelFleet, site: IngestSite, app: SlackApp
    ):
        said = app.event("once")
        # A retry is no reason to skip: the first try may never have come.
        assert (await app.post(site.http, PATH, said, retry=1)).status_code == 200
        assert (await app.post(site.http, PATH, said, retry=2)).status_code == 200
        assert (await app.post(site.http, PATH, said)).status_code == 200
        assert await answers(app, 1) == ["re: once"]
        await free(site, DIRECT)
        assert len(await fleet.messages(DIRECT)) == 2
        assert site.agent.asked == ["once"]

    async def test_a_mention_in_a_channel_is_the_threads_and_its_authors(
        self, fleet: ChannelFleet, site: IngestSite, app: SlackApp
    ):
        root = "1700000001.000100"
        mention = in_channel(app, f"<@{app.bot}> is it on?", ts=root)
        # Slack tells an app of a mention twice if it has subscribed to both events.
        twin = {**mention["event"], "type": "app_mention"}
        del twin["channel_type"]
        await app.post(site.http, PATH, mention)
        await app.post(site.http, PATH, app.wrapped(twin))
        await app.post(site.http, PATH, in_channel(app, "and now?", thread_ts=root))
        await app.post(site.http, PATH, in_channel(app, "mine?", thread_ts=root, user=PEOPLE[1]))
        assert sorted(await answers(app, 3)) == ["re: and now?", "re: is it on?", "re: mine?"]
        assert {(one["channel"], one["thread_ts"]) for one in app.sent} == {("C0123ROOM", root)}
        texts = [text for _, text in await fleet.messages(key_in_thread(root))]
        assert texts == ["is it on?", "re: is it on?", "and now?", "re: and now?"]
        assert len(await fleet.messages(key_in_thread(root, PEOPLE[1]))) == 2

    async def test_people_see_in_a_thread_that_the_bot_is_thinking(
        self, site: IngestSite, app: SlackApp
    ):
        said = in_channel(app, f"<@{app.bot}> hello")
        await app.post(site.http, PATH, said)
        await wait_until(lambda: app.statuses)
        assert app.statuses[0]["channel_id"] == "C0123ROOM"
        assert app.statuses[0]["thread_ts"] == said["event"]["ts"]

    async def test_files_are_named_in_the_text(self, site: IngestSite, app: SlackApp):
        files = [{"id": "F1", "name": "plan.pdf"}, {"id": "F2", "mode": "tombstone"}]
        await app.post(site.http, PATH, app.event("look", subtype="file_share", files=files))
        await answers(app, 1)
        await app.post(site.http, PATH, app.event("", subtype="file_share", files=files[:1]))
        await answers(app, 2)
        assert site.agent.asked == ["look\n[File: plan.pdf]\n[File]", "[File: plan.pdf]"]

    async def test_new_deletes_the_history_also_behind_a_mention(
        self, fleet: ChannelFleet, site: IngestSite, app: SlackApp
    ):
        await app.post(site.http, PATH, app.event("first"))
        await answers(app, 1)
        await app.post(site.http, PATH, app.event(f"<@{app.bot}> /new"))
        assert (await answers(app, 2))[1] == CLEARED
        assert await fleet.messages(DIRECT) == []

    async def test_what_nobody_said_to_the_bot_is_taken_and_left_alone(
        self, site: IngestSite, app: SlackApp
    ):
        for said in (
            app.event("hi", user="U0123EVE"),
            app.event("hi", bot_id="B0123", user=app.bot),
            app.event("hi", user="USLACKBOT"),
            app.event("ours", user=app.bot, subtype="file_share", files=[{"name": "a.pdf"}]),
            app.event("  "),
            app.event("hi", subtype="channel_join"),
            app.event(None, subtype="message_changed", message={"text": "x", "user": ADA}),
            app.event(None, subtype="message_deleted", deleted_ts="1.2"),
            app.wrapped({"type": "reaction_added", "user": ADA, "item": {}}),
            app.wrapped({"type": "channel_created", "channel": {"id": "C1", "name": "a"}}),
            app.wrapped({"type": "team_join", "user": {"id": ADA}}),
            {"type": "anything"},
        ):
            answer = await app.post(site.http, PATH, said)
            assert (answer.status_code, answer.json()) == (200, {"accepted": []})
        assert site.agent.asked == []
        assert list(site.services.troubles) == []

    async def test_what_is_null_is_as_good_as_missing(self, site: IngestSite, app: SlackApp):
        said = app.event("hello", files=None, thread_ts=None, subtype=None, bot_id=None)
        await app.post(site.http, PATH, {**said, "authorizations": None, "enterprise_id": None})
        assert await answers(app, 1) == ["re: hello"]


class TestSettings:
    async def test_a_whole_channel_shares_a_session_with_names_before_the_texts(
        self, fleet: ChannelFleet, found: tuple[SlackApp, str], app: SlackApp
    ):
        app.names[ADA] = "Ada L."
        site = await fleet.site(settings=slack(fleet.settings, *found, session="channel"))
        await app.post(site.http, PATH, in_channel(app, "tea?"))
        await answers(app, 1)
        await app.post(site.http, PATH, in_channel(app, "coffee!", user=PEOPLE[1]))
        await answers(app, 2)
        texts = [
            text for role, text in await fleet.messages("slack_home_C0123ROOM") if role == "user"
        ]
        assert texts == ["Ada L.: tea?", f"{PEOPLE[1]}: coffee!"]
        await app.post(site.http, PATH, app.event("just me"))
        await answers(app, 3)
        assert site.agent.asked[-1] == "just me"

    async def test_a_name_that_cannot_be_known_is_not_asked_for_with_each_message(
        self, fleet: ChannelFleet, found: tuple[SlackApp, str], app: SlackApp
    ):
        app.scopes = ("chat:write",)
        site = await fleet.site(settings=slack(fleet.settings, *found, session="channel"))
        await app.post(site.http, PATH, in_channel(app, "tea?"))
        # Now Slack would tell it.
        app.scopes, app.names = ALL_SCOPES, {ADA: "Ada L."}
        await app.post(site.http, PATH, in_channel(app, "coffee!"))
        await answers(app, 2)
        assert site.agent.asked == [f"{ADA}: tea?", f"{ADA}: coffee!"]

    async def test_only_mentions_in_only_some_channels(
        self, fleet: ChannelFleet, found: tuple[SlackApp, str], app: SlackApp
    ):
        own = {"mention_only": True, "channel_ids": ["C0123ROOM"], "thread_replies": False}
        site = await fleet.site(settings=slack(fleet.settings, *found, **own))
        for said in (
            in_channel(app, "among us"),
            in_channel(app, f"<@{app.bot}> elsewhere", channel="C0999"),
            in_channel(app, f"well, <@{app.bot}>?"),
            app.event("direct"),
        ):
            await app.post(site.http, PATH, said)
        await answers(app, 2)
        assert sorted(site.agent.asked) == ["direct", f"well, <@{app.bot}>?"]
        # Without threads a channel and an author are a session, and answers stand in the channel.
        assert all(one.get("thread_ts") is None for one in app.sent)
        assert len(await fleet.messages(f"slack_home_C0123ROOM_{ADA}")) == 2

    @pytest.mark.parametrize(
        ("own", "message"),
        [
            ({"bot_token": None}, "set bot_token, bot_token_env or bot_token_file"),
            ({"bot_token": "xapp-1"}, "bot_token must begin with xoxb-"),
            ({"mode": "socket", "app_token": None}, 'or mode = "http"'),
            ({"signing_secret": None}, "set signing_secret, "),
            ({"signing_secret": ""}, "home.signing_secret is empty"),
            ({"allowed_users": ["@ada"]}, "'@ada' is no member ID"),
            ({"api_base_url": "slack.com"}, "api_base_url must be a URL"),
        ],
    )
    async def test_what_cannot_work_is_said_at_the_start(
        self, fleet: ChannelFleet, found: tuple[SlackApp, str], own: dict[str, Any], message: str
    ):
        with pytest.raises(ConfigError, match=message):
            await fleet.site(settings=slack(fleet.settings, *found, **own))


class TestRequests:
    async def test_slacks_question_is_answered_after_its_signature(
        self, site: IngestSite, app: SlackApp
    ):
        asked = {"type": "url_verification", "token": "t", "challenge": "3eZbrw1aB"}
        answer = await app.post(site.http, PATH, asked)
        assert (answer.status_code, answer.json()) == (200, {"challenge": "3eZbrw1aB"})
        assert (await site.http.post(PATH, json=asked)).status_code == 401
        broken = await app.post(site.http, PATH, {**asked, "challenge": 7})
        assert (broken.status_code, broken.json()["code"]) == (400, "broken_payload")

    @pytest.mark.parametrize(
        ("changed", "code"),
        [
            ({"x-slack-signature": None}, "wrong_signature"),
            ({"x-slack-signature": ""}, "wrong_signature"),
            ({"x-slack-signature": "v0="}, "wrong_signature"),
            ({"x-slack-signature": "v0=" + "0" * 64}, "wrong_signature"),
            ({"x-slack-signature": "v0=é"}, "wrong_signature"),
            ({"x-slack-request-timestamp": None}, "wrong_signature"),
            ({"x-slack-request-timestamp": ""}, "wrong_signature"),
            ({"x-slack-request-timestamp": "now"}, "wrong_signature"),
            ({"x-slack-request-timestamp": "-1"}, "wrong_signature"),
            # Another time than the one that is signed.
            ({"x-slack-request-timestamp": str(int(time.time()) + 1)}, "wrong_signature"),
        ],
    )
    async def test_a_request_with_another_header_is_refused(
        self, site: IngestSite, app: SlackApp, changed: dict[str, str | None], code: str
    ):
        raw = json.dumps(app.event("hello")).encode()
        headers = {**app.headers(raw), **changed}
        sent = {k: v.encode() for k, v in headers.items() if v is not None}
        answer = await site.http.post(PATH, content=raw, headers=sent)
        assert (answer.status_code, answer.json()["code"]) == (401, code)
        assert site.agent.asked == []

    @pytest.mark.parametrize("late", [-310.0, 310.0])
    async def test_a_request_of_another_time_is_refused_even_if_it_is_signed(
        self, site: IngestSite, app: SlackApp, late: float
    ):
        raw = json.dumps(app.event("hello")).encode()
        headers = app.headers(raw, at=time.time() + late)
        answer = await site.http.post(PATH, content=raw, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "old_timestamp")

    async def test_another_body_key_or_version_is_refused(self, site: IngestSite, app: SlackApp):
        raw = json.dumps(app.event("hello")).encode()
        right = app.headers(raw)
        newer = {**right, "x-slack-signature": right["x-slack-signature"].replace("v0=", "v1=")}
        bare = {**right, "x-slack-signature": right["x-slack-signature"].removeprefix("v0=")}
        other = SlackApp(signing_secret="another").headers(raw)
        for body, headers in ((raw + b" ", right), (raw, newer), (raw, bare), (raw, other)):
            answer = await site.http.post(PATH, content=body, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "wrong_signature")

    @pytest.mark.parametrize("raw", [b"{", b"[]", b"7", b"", b"\xff"])
    async def test_a_signed_body_that_is_no_event_is_400(
        self, site: IngestSite, app: SlackApp, raw: bytes
    ):
        answer = await site.http.post(PATH, content=raw, headers=app.headers(raw))
        assert answer.status_code == 400

    @pytest.mark.parametrize(
        "event",
        [
            None,
            "text",
            {"type": "message", "user": ADA, "channel": "C1", "ts": "soon", "text": "x"},
            {"type": "message", "user": ADA, "ts": "1.2", "text": "x"},
            {"type": "message", "user": 7, "channel": "C1", "ts": "1.2", "text": "x"},
            {"type": "message", "user": ADA, "channel": "C1", "ts": "1.2", "thread_ts": "x"},
        ],
    )
    async def test_an_event_that_cannot_be_read_is_skipped_and_counted(
        self, site: IngestSite, app: SlackApp, event: Any
    ):
        payload = {**app.event("x"), "event": event}
        answer = await app.post(site.http, PATH, payload)
        assert (answer.status_code, answer.json()) == (200, {"accepted": []})
        counts = {what.value: count for what, _, count in site.services.troubles}
        assert counts == {"channel_unreadable_updates": 1}

    @pytest.mark.parametrize("name", SHAPES)
    async def test_each_shape_of_the_events_api_is_handled(
        self, site: IngestSite, app: SlackApp, name: str
    ):
        blank, shape = SHAPES[name], filled(SHAPES[name], app)
        assert (await app.post(site.http, PATH, blank)).status_code == 200
        answer = await app.post(site.http, PATH, shape)
        assert (answer.status_code, len(answer.json()["accepted"])) == (200, int(name in SPOKEN))
        assert list(site.services.troubles) == []
        if name in SPOKEN:
            assert (await answers(app, 1))[0].startswith("re: a text")


class TestReplies:
    async def test_a_long_answer_is_split_into_messages_that_slack_takes(
        self, site: IngestSite, app: SlackApp
    ):
        text = "\n\n".join(f"{number}. tea" + " & milk" * 250 for number in range(6))

        async def answer(*_: Any) -> Reply:
            return Reply(text)

        site.agent.script = answer
        await app.post(site.http, PATH, app.event("tell"))
        await answers(app, 3)
        pieces = [one.replace("&amp;", "&") for one in app.texts]
        assert "\n\n".join(pieces) == text
        assert all(len(piece) <= 4000 for piece in pieces)

    async def test_a_code_block_is_whole_in_each_message(self, site: IngestSite, app: SlackApp):
        async def answer(*_: Any) -> Reply:
            return Reply("See:\n\n```python\n" + "x = 1\n" * 1000 + "```\nThat is all.")

        site.agent.script = answer
        await app.post(site.http, PATH, app.event("code"))
        texts = await answers(app, 2)
        assert [text.count("```") for text in texts] == [2, 2]
        assert "".join(texts).count("x = 1") == 1000
        assert texts[1].startswith("```\nx = 1")

    async def test_a_model_can_mention_nobody(self, site: IngestSite, app: SlackApp):
        async def answer(*_: Any) -> Reply:
            return Reply("<!channel> **see** [this](https://example.org/?a=1&b=2)\n# Now\n`a<b`")

        site.agent.script = answer
        await app.post(site.http, PATH, app.event("tell"))
        assert await answers(app, 1) == [
            "&lt;!channel&gt; *see* <https://example.org/?a=1&amp;b=2|this>\n*Now*\n`a&lt;b`"
        ]

    async def test_slacks_pause_is_heeded_and_the_reply_has_the_same_id(
        self, site: IngestSite, app: SlackApp
    ):
        app.refusals = [limited(1), refused("internal_error")]
        began = time.monotonic()
        await app.post(site.http, PATH, app.event("hello"))
        assert await answers(app, 1) == ["re: hello"]
        assert time.monotonic() - began >= 2
        assert len(app.sent) == 1

    async def test_what_stands_in_slacks_place_is_not_slack(self, site: IngestSite, app: SlackApp):
        app.refusals = [JSONResponse({"ok": False, "error": "upstream_gone"}, 503)]
        await app.post(site.http, PATH, app.event("hello"))
        assert await answers(app, 1) == ["re: hello"]

    async def test_a_permanent_refusal_is_not_tried_again(
        self, site: IngestSite, app: SlackApp, caplog: pytest.LogCaptureFixture
    ):
        app.refusals = [refused("not_in_channel"), refused("never reached")]
        await app.post(site.http, PATH, app.event("hello"))
        await wait_until(lambda: "not_in_channel" in caplog.text)
        await free(site, DIRECT)
        assert len(app.refusals) == 1
        assert app.bot_token not in caplog.text


def filled(shape: Any, app: SlackApp) -> Any:
    """The shape as Slack would send it: with values where ours is blank."""
    event = {
        k: v for k, v in shape["event"].items() if k not in ("subtype", "bot_id", "bot_profile")
    }
    values = {
        **{"ts": "1700000009.000100", "event_ts": "1700000009.000100", "text": "a text"},
        **{"channel": "D0123DIRECT", "channel_type": "im", "user": ADA},
        **{"thread_ts": "1700000008.000100", "deleted_ts": "1700000008.000100"},
    }
    event |= {k: v for k, v in values.items() if k in event}
    event |= {k: v for k, v in shape["event"].items() if k == "subtype" and v}
    if shape["event"].get("subtype") == "bot_message":
        event["bot_id"] = "B0123BOT"
    wrapped = app.wrapped(event)
    if event["type"] == "app_rate_limited":
        return event
    return {**shape, **wrapped}
