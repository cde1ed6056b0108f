"""`doctor` asks platforms about the tokens of channels, and says what is missing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cli.doctor import Check, examine
from cli.system import TargetSystem
from proof.slackapi import SlackApp
from sessions.process.settings import Settings
from tests.ingest.slackapi import slack, slack_app

FOUND = tuple[SlackApp, str]


@pytest.fixture
async def found() -> AsyncIterator[FOUND]:
    async with slack_app() as found:
        yield found


async def checked(settings: Settings, found: FOUND, **own: Any) -> Check:
    own = {"mode": "socket", **own}
    system = TargetSystem.find(slack(settings, *found, **own), {})
    return next(check for check in await examine(system, {}) if check.name == "slack.home")


async def test_a_token_with_all_scopes_is_well(settings: Settings, found: FOUND) -> None:
    """Also if Slack posts, where there is no app token."""
    assert (await checked(settings, found)).verdict == "ok"
    assert (await checked(settings, found, mode="http", app_token=None)).verdict == "ok"
    assert found[0].sent == []


async def test_missing_scopes_are_named(settings: Settings, found: FOUND) -> None:
    """Those that the settings need."""
    found[0].scopes = ("chat:write", "im:history")
    check = await checked(settings, found)
    assert check.verdict == "warning"
    assert "the scope app_mentions:read is missing" in check.text
    assert "users:read" not in check.text
    assert "users:read" in (await checked(settings, found, session="channel")).text


@pytest.mark.parametrize(
    ("own", "text"),
    [
        ({"bot_token": "xoxb-of-nobody"}, "invalid_auth"),
        ({"app_token": "xapp-of-nobody"}, "invalid_auth"),
        ({"bot_token": None}, "set bot_token"),
    ],
)
async def test_a_token_that_slack_does_not_take_fails(
    settings: Settings, found: FOUND, own: dict[str, Any], text: str
) -> None:
    """Nothing of the token is told."""
    check = await checked(settings, found, **own)
    assert (check.verdict, text in check.text) == ("failed", True)
    assert "of-nobody" not in check.text


async def test_an_app_without_socket_mode_fails(settings: Settings, found: FOUND) -> None:
    """It would never get a message."""
    found[0].has_socket_mode = False
    check = await checked(settings, found)
    assert (check.verdict, check.text) == ("failed", "Slack answers socket_mode_not_enabled")


async def test_a_slack_that_is_away_is_a_warning(settings: Settings, found: FOUND) -> None:
    """It may be the network of this machine."""
    check = await checked(settings, found, api_base_url="http://127.0.0.1:9")
    assert check.verdict == "warning"
    assert "does not answer" in check.text
