"""Where an answer goes is told by key and routing only if they leave nothing open."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from ingest.channels.base import ChannelMessage
from ingest.channels.factory import TYPES
from ingest.channels.keys import room_of, session_key
from sessions.access.answers import AnswerWays, NoWay
from sessions.access.channel_agents import CLI
from sessions.models import Session
from sessions.process.settings import ChannelSettings, Settings
from sessions.stream.lanes.values import Origin


@pytest.fixture
def ways(settings: Settings) -> AnswerWays:
    document = settings.model_dump()
    document["agents"]["anna"]["channels"] = ["discord", "slack", "telegram.home", "webhook.a_b"]
    document["channels"]["discord"] = {"home": {}, "off": {"enabled": False}}
    document["channels"]["slack"] = {"home": {}}
    document["channels"]["telegram"] = {"home": {}}
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


@pytest.mark.parametrize("shared", [False, True])
def test_a_channel_of_discord_is_found_again(ways: AnswerWays, shared: bool):
    incoming = ChannelMessage("i", "hi", "42", "17", "17", 0, by_room=shared)
    assert ways.way("anna", kept("discord.home", incoming), None) == ("discord.home", "17")


@pytest.mark.parametrize("thread", [None, "1700000000.000100"])
def test_slack_answers_where_the_last_message_came_from(ways: AnswerWays, thread: str | None):
    place = f"C1:{thread}" if thread else "C1"
    session = kept("slack.home", ChannelMessage("i", "hi", "U1", "C1", place, 0, thread=thread))
    assert ways.way("anna", session, None) is NoWay.NO_ADDRESS
    last = Origin("slack.home", place)
    assert ways.way("anna", session, last) == last


def test_every_type_of_channel_is_known_where_answers_and_keys_are_decided():
    assert {*ChannelSettings().kinds, CLI} == {*TYPES}


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
        ("anna", "discord.off", NoWay.SILENT),
        ("bert", "telegram.home", NoWay.OTHERS),
    ],
)
def test_why_there_is_no_way_is_told(ways: AnswerWays, agent: str, channel: str | None, why: NoWay):
    session = kept("telegram.home", on_telegram("42", None, "ada"))
    assert ways.way(agent, replace(session, channel=channel), None) is why
