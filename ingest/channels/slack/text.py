"""Slack's way of writing: what a person wrote as plain text, and Markdown as Slack's mrkdwn."""

from __future__ import annotations

import re
from typing import Final

# What Slack writes between < and >: a link, a person, a channel or a command, perhaps with a label.
_REFERENCE: Final = re.compile(r"<((?:[@#!]|[a-z][a-z+.-]*:)[^<>|]+)(?:\|([^<>]*))?>")
_CODE: Final = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)
_LANGUAGE: Final = re.compile(r"\A```[A-Za-z0-9_+-]+\n")
_LINK: Final = re.compile(r"!?\[([^\]\n]*)\]\(((?:https?|mailto):[^\s)]+)\)")
_HEADING: Final = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t]*#*$", re.MULTILINE)
_BULLET: Final = re.compile(r"^([ \t]*)[*+-][ \t]+", re.MULTILINE)
_BOLD: Final = re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1")
_ITALIC: Final = re.compile(r"(?<![\w*])\*(?=\S)([^*\n]+?)(?<=\S)\*(?![\w*])")
_STRUCK: Final = re.compile(r"~~(?=\S)(.+?)(?<=\S)~~")
# Stands for the stars of bold text until those of italic text are gone.
_STAR: Final = "\x00"


def plain(text: str) -> str:
    """What a person wrote, without Slack's escapes; a mention without a label stays as it is."""
    return _unescaped(_REFERENCE.sub(_referred, text))


def without_mention(text: str, user: str) -> str:
    """The text without the mention of that user with which it begins, if it does."""
    mention = re.compile(rf"\s*<@{re.escape(user)}(?:\|[^<>]*)?>[\s,:]*")
    found = mention.match(text)
    return text[found.end() :] if found is not None else text


def is_mentioned(text: str, user: str) -> bool:
    """Whether the text mentions that user."""
    return bool(re.search(rf"<@{re.escape(user)}[>|]", text))


def mrkdwn(markdown: str) -> str:
    """The Markdown of a model as Slack shows it. Nobody is mentioned by it, whatever it says."""
    pieces: list[str] = []
    end = 0
    for code in _CODE.finditer(markdown):
        pieces += [_formatted(markdown[end : code.start()]), _escaped(_unnamed(code[0]))]
        end = code.end()
    return "".join([*pieces, _formatted(markdown[end:])])


def _referred(found: re.Match[str]) -> str:
    what, label = found[1], found[2]
    match what[0]:
        case "@":
            return f"@{label}" if label else found[0]
        case "#":
            return f"#{label}" if label else found[0]
        case "!":
            return label or f"@{what[1:]}"
        case _:
            address = what.removeprefix("mailto:")
            return address if label in (None, "", what, address) else f"{label} ({address})"


def _unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _unnamed(code: str) -> str:
    """The code without the name of its language, which Slack would show."""
    return _LANGUAGE.sub("```\n", code)


def _formatted(text: str) -> str:
    text = _LINK.sub(r"<\2|\1>", _escaped(text.replace(_STAR, "")))
    text = _BOLD.sub(rf"{_STAR}\2{_STAR}", _BULLET.sub(r"\1• ", text))
    text = _HEADING.sub(_bold_heading, text)
    text = _STRUCK.sub(r"~\1~", _ITALIC.sub(r"_\1_", text))
    return text.replace(_STAR, "*")


def _bold_heading(found: re.Match[str]) -> str:
    """All of it is bold, so what is bold in it needs no stars of its own."""
    return f"{_STAR}{found[1].replace(_STAR, '')}{_STAR}"
