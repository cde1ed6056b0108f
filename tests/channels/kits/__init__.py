"""The channels that pass the suite, each by a kit of its own. A new one joins by a line here."""

from __future__ import annotations

from typing import Final

from tests.channels.kits.base import Kit
from tests.channels.kits.chat import ChatKit
from tests.channels.kits.cli import CommandLineKit
from tests.channels.kits.discord import DiscordKit
from tests.channels.kits.slack import PostedSlack, SocketSlack
from tests.channels.kits.telegram import PolledTelegram, PostedTelegram
from tests.channels.kits.webhook import WebhookKit

KITS: Final[tuple[type[Kit], ...]] = (
    PolledTelegram,
    PostedTelegram,
    DiscordKit,
    SocketSlack,
    PostedSlack,
    WebhookKit,
    CommandLineKit,
    ChatKit,
)
