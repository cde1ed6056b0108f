"""Texts made from texts: search words, sanitised keys, display ids."""

from __future__ import annotations

import unicodedata
from typing import Final

import regex

GATEWAY_PREFIX: Final = "gw_"
# How a channel's session key ends whose parts could be those of others: `-` and a digest of them.
KEY_DIGITS: Final = 16
KEY_ENDING: Final = regex.compile(rf"-[0-9a-f]{{{KEY_DIGITS}}}\Z")

# Scripts written without blanks between words, and symbols such as emoji. Each such character is
# a search word of its own, so that a phrase of them finds every substring, also of one character.
_SINGLES = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Bopomofo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
    r"\p{So}\p{Sk}\u30fc\u3005\u3007]"
)
_WORD = regex.compile(r"[\p{L}\p{N}\p{Co}]")
_WORDS = regex.compile(r"[\p{L}\p{N}\p{Co}]+")
_BLANKS = r"\p{White_Space}+"
_ENDS = regex.compile(rf"\A{_BLANKS}|{_BLANKS}\Z")
_UNSAFE = regex.compile(r"[^\p{Alphabetic}\p{N}_-]")


def fold_for_search(text: str) -> str:
    """The form in which the search index holds a text.

    The single characters are spelled as ASCII code points, because SQLite's tokenizer knows
    Unicode 6.1 only and would drop what came later.
    """
    if text.isascii():
        return text
    return _SINGLES.sub(_spell, unicodedata.normalize("NFKC", text))


def _spell(match: regex.Match[str]) -> str:
    return f" u{ord(match[0]):x} "


def search_words(text: str) -> list[str]:
    """The words of a text as search compares them: without case and accents, in order."""
    plain = unicodedata.normalize("NFD", fold_for_search(text)).lower()
    return _WORDS.findall("".join(char for char in plain if not unicodedata.combining(char)))


def search_expression(query: str) -> str | None:
    """The FTS5 expression that finds every word of the query, None where it has no word.

    Words are separated by blanks; punctuation inside a word separates the parts of a phrase.
    Nothing that a user types is an operator.
    """
    phrases: list[str] = []
    for word in query.replace("\0", " ").split():
        folded = fold_for_search(word)
        if _WORD.search(folded):
            phrases.append('"' + folded.replace('"', " ") + '"')
    return " AND ".join(phrases) or None


def sanitize_key(key: str) -> str:
    """Upstream's `sanitize_session_key`: other characters than letters, digits, _ and - to _."""
    return _UNSAFE.sub("_", key)


def trimmed(text: str) -> str:
    """The text without blanks at its ends: upstream's `trim`, by Unicode's White_Space."""
    # `strip` takes away more, the separators U+001C to U+001F, so that it finds all candidates.
    return text if text.strip() == text else _ENDS.sub("", text)


def display_id(key: str) -> str:
    """A session key as upstream's routes show it: without a leading `gw_`."""
    return key.removeprefix(GATEWAY_PREFIX)
