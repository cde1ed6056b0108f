"""Every setting is documented with its default and its variable, and no other is."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from sessions.process.config.loading import load_settings
from sessions.process.settings import (
    AgentSettings,
    ChannelSettings,
    DiscordSettings,
    GatewaySettings,
    OwnSettings,
    SlackSettings,
    TelegramSettings,
    WebhookSettings,
)
from tests.docs.pages import Pages, section

SECTIONS: list[tuple[str, type[BaseModel]]] = [
    ("### `[turnstream]`", OwnSettings),
    ("### `[channels]`", ChannelSettings),
    ("### `[gateway]`", GatewaySettings),
    ("### `[agents.<alias>]`", AgentSettings),
    ("### `[channels.discord.<alias>]`", DiscordSettings),
    ("### `[channels.slack.<alias>]`", SlackSettings),
    ("### `[channels.telegram.<alias>]`", TelegramSettings),
    ("### `[channels.webhook.<alias>]`", WebhookSettings),
]
# Tables of their own.
NESTED = {"discord", "slack", "telegram", "webhook"}
FROM_ENVIRONMENT = SECTIONS[:3]
# Of settings that do not take every text.
_VALUES = {
    "api_url": "http://debug",
    "dialect": "zeroclaw",
    "key_style": "zeroclaw",
    "log_format": "json",
}


def rows(pages: Pages, heading: str) -> dict[str, list[str]]:
    """The rows of a section's table, by the name in the first cell."""
    lines = section(pages["operating.md"], heading).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return {row[0].strip("`"): row for row in cells if row[0].startswith("`")}


@pytest.mark.parametrize(("heading", "model"), SECTIONS, ids=[name for name, _ in SECTIONS])
def test_every_setting_stands_in_its_table(
    pages: Pages, heading: str, model: type[BaseModel]
) -> None:
    assert set(rows(pages, heading)) == set(model.model_fields) - NESTED


@pytest.mark.parametrize(("heading", "model"), SECTIONS, ids=[name for name, _ in SECTIONS])
def test_the_default_is_the_one_that_is_told(
    pages: Pages, heading: str, model: type[BaseModel]
) -> None:
    for name, row in rows(pages, heading).items():
        default = model.model_fields[name].default
        shown = row[-2].strip("`")
        assert shown == ("none" if default in (None, ()) else str(default)), name


@pytest.mark.parametrize(
    ("heading", "model"), FROM_ENVIRONMENT, ids=[name for name, _ in FROM_ENVIRONMENT]
)
def test_the_variable_that_is_told_sets_the_setting(
    pages: Pages, heading: str, model: type[BaseModel]
) -> None:
    attribute = heading.strip("#` []")
    for name, row in rows(pages, heading).items():
        default = model.model_fields[name].default
        text = _VALUES.get(name, "debug")
        value = str(default + 1) if isinstance(default, int) else text
        value = str(not default) if isinstance(default, bool) else value
        settings = load_settings(None, {row[1].strip("`"): value})
        assert str(getattr(getattr(settings, attribute), name)).strip("(),'") == value


def test_the_example_of_a_zeroclaw_configuration_is_understood(
    pages: Pages, tmp_path: Path
) -> None:
    text = section(pages["operating.md"], "### ZeroClaw's `config.toml`")
    path = tmp_path / "config.toml"
    path.write_text(text.partition("```toml\n")[2].partition("```")[0], encoding="utf-8")
    settings = load_settings(path, {})
    assert settings.channels.session_backend == "jsonl"
    assert settings.channels.telegram["home"].allowed_users == ("alice", "42")
    assert settings.agents["main"].may_send_to == ("kitchen",)
    assert settings.agents["main"].base_url == "https://openrouter.ai/api/v1"
