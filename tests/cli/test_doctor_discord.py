"""`doctor` asks Discord about the tokens of its bots."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cli.doctor import Check, examine
from cli.system import TargetSystem
from proof.discordapi import DiscordBot, app_of
from sessions.process.settings import Settings
from tests.ingest.serving import serving

FOUND = tuple[DiscordBot, str]


@pytest.fixture
async def found() -> AsyncIterator[FOUND]:
    bot = DiscordBot()
    async with serving(app_of(bot)) as address:
        yield bot, f"http://{address}/api/v10"


async def check_of(settings: Settings, found: FOUND, **own: Any) -> Check:
    bot, url = found
    home = {"bot_token": bot.token, "api_base_url": url, "public_key": bot.public_key, **own}
    document = settings.model_dump()
    document["channels"]["discord"] = {"home": home}
    system = TargetSystem.find(Settings.model_validate(document), {})
    return next(check for check in await examine(system, {}) if check.name == "discord.home")


async def test_a_bot_that_has_what_it_needs_is_ok(settings: Settings, found: FOUND):
    check = await check_of(settings, found)
    assert (check.verdict, check.text) == ("ok", "its platform takes the token")


async def test_a_missing_intent_is_named_unless_it_is_not_needed(settings: Settings, found: FOUND):
    found[0].reads_content = False
    check = await check_of(settings, found)
    assert check.verdict == "warning"
    assert "Message Content Intent" in check.text
    assert (await check_of(settings, found, mention_only=True)).verdict == "ok"


async def test_another_applications_public_key_is_named(settings: Settings, found: FOUND):
    check = await check_of(settings, found, public_key=DiscordBot().public_key)
    assert check.verdict == "warning"
    assert "public_key" in check.text


async def test_a_token_that_discord_does_not_take_fails(settings: Settings, found: FOUND):
    other = DiscordBot(number=5).token
    check = await check_of(settings, found, bot_token=other)
    assert check.verdict == "failed"
    assert "401" in check.text
    assert other not in check.text


async def test_a_discord_that_is_away_is_a_warning(settings: Settings, found: FOUND):
    check = await check_of(settings, found, api_base_url="http://127.0.0.1:9/api/v10")
    assert check.verdict == "warning"
