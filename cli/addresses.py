"""Addresses as other programs are told them."""

from __future__ import annotations

import urllib.parse

from sessions.process.settings import Settings


def local_url(settings: Settings) -> str:
    """The URL by which this machine reaches a web process with these settings."""
    host = settings.gateway.host
    reached = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host)
    if reached is None:
        reached = f"[{host}]" if ":" in host else host
    return f"http://{reached}:{settings.gateway.port}"


def redis_cli_arguments(url: str) -> list[str]:
    """What redis-cli wants to be told instead of the URL that redis-py understands."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "unix":
        return ["-u", url]
    query = {name: values[0] for name, values in urllib.parse.parse_qs(parts.query).items()}
    given = {
        "-s": urllib.parse.unquote(parts.path),
        "-n": query.get("db"),
        "--user": urllib.parse.unquote(parts.username or query.get("username", "")),
        "-a": urllib.parse.unquote(parts.password or query.get("password", "")),
    }
    return [word for option, value in given.items() if value for word in (option, value)]
