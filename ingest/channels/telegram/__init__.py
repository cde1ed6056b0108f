"""Telegram bots, by the client library python-telegram-bot, which is an extra."""
