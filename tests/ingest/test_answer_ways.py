"""Where an answer goes is told by key and routing only if they leave nothing open."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from ingest.channels.base import ChannelMessage
from ingest.channels.keys import room_of, session_key
from sessions.access.answers import AnswerWays, NoWay
from sessions.models import Session
from sessions.process.settings import Settings
from sessions.stream.lanes.values import Origin


@pytest.fixture
def ways(settings: Settings) -> AnswerWays:
    document = settings.model_dump()
    document["agents"]["anna"]["channels"] = [
        *("telegram.home", "webhook.a_b", "slack.home", "discord.home"),
    ]
    document["channels"]["telegram"] = {"home": {}}
    document["channels"]["slack"] = {"home": {}, "off": {"enabled": False}}
    document["channels"]["discord"] = {"home": {}}
    document["channels"]["webhook"] = {"a_b": {"send_url": "http://127.0.0.1:1/"}}
    return AnswerWays(Settings.model_validate(document))


def kept(channel: str, incoming: ChannelMessage) -> Session:
    """The session of that message, as the store shows it."""
    return Session(
        session_key(channel, incoming),
        *(1, None, "anna", channel, room_of(incoming), incoming.sender, "idle", None, None),
        *(0, 0, 1),
    )


def on_telegram(chat: str, thread: str | None, sender: str) -> ChannelMessage:
    place = f"{chat}:{thread}" if thread else chat
    places = (chat, thread) if thread else ()
    return ChannelMessage("i", "hi", sender, place, place, 0, thread=thread, places=places)


def on_webhook(thread: str | None, sender: str) -> ChannelMessage:
    return ChannelMessage("i", "hi", sender, thread or sender, thread or "", 0, thread=thread)


NAMES = ("17", "42", "-1001", "ada", "ada.l", "a_b")


@pytest.mark.parametrize("sender", NAMES)
@pytest.mark.parametrize("chat", NAMES[:3])
def test_a_chat_is_found_again_and_a_topic_is_not_taken_for_one(
    ways: AnswerWays, chat: str, sender: str
):
    alone = on_telegram(chat, None, sender)
    assert ways.way("anna", kept("telegram.home", alone), None) == ("telegram.home", chat)
    for thread in NAMES[:2]:
        topic = on_telegram(chat, thread, sender)
        assert ways.way("anna", kept("telegram.home", topic), None) is NoWay.NO_ADDRESS


@pytest.mark.parametrize(("thread", "sender"), [*itertools.product((None, *NAMES), NAMES)])
def test_a_webhooks_thread_is_found_again(ways: AnswerWays, thread: str | None, sender: str):
    incoming = on_webhook(thread, sender)
    way = ways.way("anna", kept("webhook.a_b", incoming), None)
    assert way == ("webhook.a_b", incoming.address)


@pytest.mark.parametrize("channel", ["slack.home", "discord.home"])
def test_every_bot_answers_at_the_last_address(ways: AnswerWays, channel: str):
    session = kept(channel, ChannelMessage("i", "hi", "U1", "C1", "C1:17.1", 0))
    last = Origin(channel, "C1:17.1")
    assert ways.way("anna", session, last) == last
    assert ways.way("anna", session, None) is NoWay.NO_ADDRESS


def test_the_last_address_counts_if_it_is_of_the_sessions_channel(ways: AnswerWays):
    session = kept("telegram.home", on_telegram("-1001", "17", "ada"))
    last = Origin("telegram.home", "-1001:17")
    assert ways.way("anna", session, last) == last
    assert ways.way("anna", session, Origin("telegram.old", "7")) is NoWay.NO_ADDRESS


@pytest.mark.parametrize(
    ("agent", "channel", "why"),
    [
        ("anna", None, NoWay.NO_CHANNEL),
        ("anna", "email", NoWay.SILENT),
        ("anna", "telegram.other", NoWay.SILENT),
        ("anna", "slack.off", NoWay.SILENT),
        ("bert", "telegram.home", NoWay.OTHERS),
    ],
)
def test_why_there_is_no_way_is_told(ways: AnswerWays, agent: str, channel: str | None, why: NoWay):
    session = kept("telegram.home", on_telegram("42", None, "ada"))
    assert ways.way(agent, replace(session, channel=channel), None) is why
