"""Slack on a port of its own, and the settings of an app there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from proof.slackapi import SlackApp, slack_of
from sessions.process.settings import Settings
from tests.ingest.channel_fleet import with_channels
from tests.ingest.serving import serving

PEOPLE = ("U0123ADA", "U0123BOB")


@asynccontextmanager
async def slack_app() -> AsyncIterator[tuple[SlackApp, str]]:
    """An app, and the base URL of the Web API that knows it."""
    app = SlackApp()
    async with serving(slack_of(app)) as address:
        yield app, f"http://{address}"


def slack(settings: Settings, app: SlackApp, url: str, **own: Any) -> Settings:
    """The settings with the app as `slack.home`, which is anna's; posted to, unless `own` says."""
    home = {
        "bot_token": app.bot_token,
        "app_token": app.app_token,
        "signing_secret": app.signing_secret,
        "mode": "http",
        "api_base_url": url,
        "allowed_users": PEOPLE,
        **own,
    }
    return with_channels(settings, anna=("slack.home",), slack={"home": home})
