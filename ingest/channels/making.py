"""What channels are made of, and how their settings are read."""

from __future__ import annotations

import ssl
from collections.abc import Generator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from ingest.channels.failure_counts import ChannelFailures
from sessions.access.tokens import TokenVerifier
from sessions.errors import ConfigError
from sessions.process.secret_sources import secret_of
from sessions.process.settings import Settings
from sessions.process.urls import is_web_url
from sessions.stream.redis import RedisClient


@contextmanager
def importing_extra(kind: str) -> Generator[None]:
    """For what a kind of channel imports only if it is configured.

    It takes a good part of a second, and is an extra. Raises ConfigError if that is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise ConfigError(f"[channels.{kind}] needs: pip install 'turnstream[{kind}]'") from error


@cache
def trusted_certificates(*, by_environment: bool) -> ssl.SSLContext:
    """What a client of HTTPS trusts; `by_environment` lets variables name more.

    It is read once in a process. Every client would read it again, for 25 ms of processor time.
    """
    return httpx.create_ssl_context(trust_env=by_environment)


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

    def secret(
        self, where: str, given: SecretStr | None, variable: str | None, file: Path | None
    ) -> str | None:
        """A secret of the settings, as `secret_of` reads it."""
        return secret_of(where, given, variable, file, self.environ)

    def redis_key(self, name: str) -> str:
        """The key of that name in this installation's part of Redis."""
        return f"{self.settings.turnstream.prefix}{name}"


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


__all__ = ["ChannelDependencies", "checked_url", "is_loopback"]
