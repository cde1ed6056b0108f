"""What channels are made of, and how their settings are read."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import SecretStr

from ingest.channels.failure_counts import ChannelFailures
from sessions.access.tokens import TokenVerifier
from sessions.errors import ConfigError
from sessions.process.settings import Settings
from sessions.process.urls import is_web_url
from sessions.stream.redis import RedisClient


@dataclass(frozen=True, slots=True)
class ChannelDependencies:
    """What channels are made of. `stack` closes what they open."""

    settings: Settings
    environ: Mapping[str, str]
    tokens: TokenVerifier
    redis: RedisClient
    url: str
    troubles: ChannelFailures
    stack: AsyncExitStack

    def secret(self, where: str, given: SecretStr | None, variable: str | None) -> str | None:
        """A secret of the settings, as `secret_of` reads it."""
        return secret_of(where, given, variable, self.environ)

    def redis_key(self, name: str) -> str:
        """The key of that name in this installation's part of Redis."""
        return f"{self.settings.turnstream.prefix}{name}"


def secret_of(
    where: str, given: SecretStr | None, variable: str | None, environ: Mapping[str, str]
) -> str | None:
    """A secret of the settings or of the variable that they name; None where neither is set.

    Raises ConfigError for both, and for a variable that is not set.
    """
    if given is not None and variable is not None:
        raise ConfigError(f"{where} and {where}_env: set one of them")
    if variable is None:
        return given.get_secret_value() if given is not None else None
    value = environ.get(variable)
    if not value:
        raise ConfigError(f"{where}_env: the variable {variable} is not set")
    return value


def is_loopback(url: str) -> bool:
    """Whether the URL means this machine, which no proxy has to do with."""
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


def checked_url(url: str | None, where: str) -> str | None:
    """The URL, if it is one of http or https; raises ConfigError, which does not quote it."""
    if url is None or is_web_url(url):
        return url
    raise ConfigError(
        f"{where} must be a URL that begins with http:// or https://; "
        "a user and password in it must be percent-encoded"
    )


__all__ = ["ChannelDependencies", "checked_url", "is_loopback", "secret_of"]
