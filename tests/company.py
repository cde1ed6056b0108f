"""Two chats and a bot that keep talking beside a test, on whatever the test is about."""

from __future__ import annotations

import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx

from harness.waiting import wait_until
from proof.storm.external import ExternalServers
from proof.storm.journal import Journal
from proof.talking_users import TalkingUsers
from sessions.access.tokens import ensure_admin_token
from sessions.process.settings import Settings

# Seconds that their agent takes for an answer, at most.
_LONGEST: Final = 0.2


@asynccontextmanager
async def outside() -> AsyncIterator[ExternalServers]:
    """Their model and their bot's platform."""
    outside = ExternalServers(Journal(), seed="company", longest=_LONGEST)
    async with outside.served():
        yield outside


def with_company(settings: Settings, outside: ExternalServers) -> Settings:
    """The settings with their agent and its bot beside what is there."""
    document, own = settings.model_dump(), tomllib.loads(outside.settings())
    document["agents"].update(own["agents"])
    document["channels"].update(own["channels"])
    return Settings.model_validate(document)


def settings_file(folder: Path, outside: ExternalServers) -> str:
    """A settings file with their agent and its bot, for processes."""
    path = folder / "company.toml"
    path.touch(mode=0o600)
    path.write_text(outside.settings(), encoding="utf-8")
    return str(path)


@asynccontextmanager
async def company(
    url: str,
    outside: ExternalServers,
    workspace: Path,
    *,
    backend: str = "sqlite",
    allowed: frozenset[str] = frozenset(),
) -> AsyncIterator[TalkingUsers]:
    """They talk while the block lasts; behind it each message has exactly one answer.

    A chat may have been refused with the codes in `allowed`; no socket may have been cut off.
    """
    token = ensure_admin_token(workspace)
    company = TalkingUsers([url], token, outside)
    async with company.talking():
        await company.go_on()
        yield company
        await company.go_on()
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False) as http:

        async def all_is_applied() -> bool:
            return (await http.get("/api/sessions")).is_success

        await wait_until(all_is_applied)
    assert company.judge(workspace, backend) == []
    assert {*company.refusals} <= allowed
