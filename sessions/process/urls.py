"""URLs that may hold secrets: how they are shown, and which ones can be used at all.

Nothing here raises for a URL that is malformed in any way: those are the ones that need care,
because a password that was not encoded ends up in every other part of the URL.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

HIDDEN: Final = "***"

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_USER: Final = re.compile(r"[A-Za-z0-9._-]*")
_HOST: Final = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?"
_AUTHORITY: Final = re.compile(rf"{_HOST}(?:,{_HOST})*")
# A database's number or name behind a host.
_DATABASE: Final = re.compile(r"(?:/[A-Za-z0-9_-]*)?")
# A query that says which database is meant, and nothing else.
_HARMLESS_QUERY: Final = re.compile(r"db=[0-9]{1,5}")
_WEB: Final = frozenset({"http", "https", "ws", "wss"})
# What a query may call a secret.
_SECRET_NAME: Final = re.compile(r"pass|secret|token|key|auth", re.IGNORECASE)


def redacted(url: str) -> str:
    """The URL for messages and logs: scheme, user, host and port, the path of a socket or database.

    Only what is known to be harmless is shown. A URL that can be read in two ways, as one with a
    password that was not encoded can, shows nothing but its scheme.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        return HIDDEN
    head, at, place = rest.rpartition("@")
    if not at or (scheme == "unix" and rest.startswith("/")):
        return f"{scheme}://{_shown_place(scheme, rest)}"
    if "?" in head or (scheme.lower() in _WEB and "/" in head):
        # Either the password holds that character, or a secret behind the host an @.
        return f"{scheme}://{HIDDEN}"
    return f"{scheme}://{_shown_user(head)}@{_shown_place(scheme, place)}"


def _shown_user(credentials: str) -> str:
    user, colon, _ = credentials.partition(":")
    # Without a colon it may be a password that somebody took for the whole of it.
    return f"{user}:{HIDDEN}" if colon and _USER.fullmatch(user) else HIDDEN


def _shown_place(scheme: str, place: str) -> str:
    authority, path, query, fragment = _split(place)
    if authority and not _AUTHORITY.fullmatch(authority):
        return HIDDEN
    # The path of a web address may be the secret itself, as a chat's incoming webhook is.
    plain = scheme == "unix" or (scheme.lower() not in _WEB and _DATABASE.fullmatch(path))
    shown = path if plain or path == "/" else f"/{HIDDEN}" if path else ""
    if query:
        shown += f"?{query if _HARMLESS_QUERY.fullmatch(query) else HIDDEN}"
    return f"{authority}{shown}#{HIDDEN}" if fragment else f"{authority}{shown}"


def _split(rest: str) -> tuple[str, str, str, str]:
    """What follows `://`: authority, path with its slash, query, fragment."""
    location, _, fragment = rest.partition("#")
    location, _, query = location.partition("?")
    authority, slash, path = location.partition("/")
    return authority, slash + path, query, fragment


def without_secrets(text: str, url: str) -> str:
    """A text of somebody else's about the URL, with the URL's secrets replaced."""
    for secret in sorted(_secrets(url), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def _secrets(url: str) -> set[str]:
    """The passwords of the URL, as they are written and as they are meant."""
    rest = url.partition("://")[2]
    written = {rest.rpartition("@")[0].partition(":")[2]}
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    written |= {parts.netloc.rpartition("@")[0].partition(":")[2]}
    meant = {unquote(secret) for secret in written}
    meant |= {value for name, value in parse_qsl(parts.query) if _SECRET_NAME.search(name)}
    return {secret for secret in written | meant if secret}


def holds_password(text: str) -> bool:
    """Whether a text is a URL with a password in it, also a malformed one."""
    scheme, _, rest = text.partition("://")
    if not _SCHEME.fullmatch(scheme):
        return False
    names = [pair.partition("=")[0] for pair in rest.partition("?")[2].split("&") if "=" in pair]
    return ":" in rest.rpartition("@")[0] or any(map(_SECRET_NAME.search, names))


def is_ambiguous(url: str) -> bool:
    """Whether a user or password was not percent-encoded, so that the URL reads as another one.

    A piece of the password would be taken for a host or port, and be told to a name server.
    """
    authority, path, query, fragment = _split(url.partition("://")[2])
    behind = path + query.partition("=")[0] + fragment
    return bool(authority) and "@" in behind


def is_web_url(url: str) -> bool:
    """Whether an HTTP client can use the URL, and takes nothing of a password for the host."""
    try:
        parts = urlsplit(url)
        named = parts.scheme in ("http", "https") and bool(parts.hostname)
        return named and (parts.port is None or parts.port > 0) and not is_ambiguous(url)
    except ValueError:
        return False


def api_problem(url: str) -> str | None:
    """What is wrong with the address of an api, None if nothing is; it never quotes the URL."""
    if "@" in url:
        # The client would send them instead of the token.
        return "must hold no user and no password; TURNSTREAM_TOKEN holds the token"
    return None if is_web_url(url) else "must be a URL such as http://127.0.0.1:42617"


__all__ = [
    "HIDDEN",
    "api_problem",
    "holds_password",
    "is_ambiguous",
    "is_web_url",
    "redacted",
    "without_secrets",
]
