"""Whom a message quotes, in the form of ZeroClaw."""

from __future__ import annotations


def quoted(sender: str, text: str) -> str:
    """The text as quoted lines, below the name of who wrote it."""
    return "\n".join([f"> @{sender}:", *(f"> {line}" for line in text.splitlines())])
