"""What the services of a Docker Compose stack show to each other; a worker makes it at its start.

    redis/users.acl             Redis' users, with the hashes of their passwords
    redis/password              of the user by which Redis is asked whether it answers
    {service}/redis_url         where Redis is, with the password of the service's own user
    ingest/token                ingest's token for the api, of the scope serve

Each folder is a volume of its own, which only that service has beside the worker.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from contextlib import aclosing
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sessions.access.tokens import TokenScope, ensure_token
from sessions.errors import ConfigError
from sessions.process.durable import locked, replace_file
from sessions.process.private import make_private_directory
from sessions.process.settings import Settings
from sessions.stream.redis import connect
from sessions.stream.refusals import ERRORS, explain
from sessions.stream.users import SERVICES, acl_file, user_of

log = logging.getLogger(__name__)

# Where the compose file has Redis.
_REDIS: Final = "redis:6379"
# The user that asks Redis whether it answers, and has it read its users again.
_REDIS_USER: Final = user_of("redis")
_REDIS_RULES: Final = "resetkeys resetchannels -@all +ping +acl|load"
# 256 bits: nobody guesses one, so that one round of SHA-256 is hash enough.
_PASSWORD_BYTES: Final = 32
# Redis runs as a user of its own, in our group.
_FOR_THE_GROUP: Final = 0o640


async def make_stack_secrets(directory: Path, settings: Settings) -> None:
    """Make what is missing, and bring Redis' users up to date, also in a Redis that runs.

    Several workers may do it at a time. What is there stays as it is. Raises ConfigError.
    """
    try:
        for name in (*SERVICES, "redis"):
            make_private_directory(directory / name)
        with locked(directory / "worker" / "secrets.lock"):
            changed = _make_users(directory, settings.turnstream.prefix)
    except OSError as error:
        raise ConfigError(f"cannot make secrets in {directory}: {error.strerror}") from error
    ensure_token(
        settings.workspace,
        directory / "ingest" / "token",
        scope=TokenScope.SERVE,
        note="ingest's, made by the worker",
    )
    if changed:
        await _have_users_read(directory)


def _make_users(directory: Path, prefix: str) -> bool:
    """Write what is missing; whether the list of users is another one now."""
    passwords = {_REDIS_USER: _kept(directory / "redis" / "password", _FOR_THE_GROUP)}
    for service in SERVICES:
        url = _kept_url(directory / service / "redis_url", user_of(service))
        passwords[user_of(service)] = urlsplit(url).password or ""
    hashes = {user: hashlib.sha256(text.encode()).hexdigest() for user, text in passwords.items()}
    text = acl_file(hashes, prefix, more={_REDIS_USER: _REDIS_RULES})
    path = directory / "redis" / "users.acl"
    if _text_of(path) == text:
        return False
    replace_file(path, text, mode=_FOR_THE_GROUP)
    return True


def _kept(path: Path, mode: int = 0o600, *, form: str = "{}") -> str:
    """The text of the file; if there is none, one with a new password in that form."""
    text = _text_of(path)
    if not text:
        text = form.format(secrets.token_hex(_PASSWORD_BYTES))
        replace_file(path, text, mode=mode)
    return text


def _kept_url(path: Path, user: str) -> str:
    return _kept(path, form=f"redis://{user}:{{}}@{_REDIS}/0")


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


async def _have_users_read(directory: Path) -> None:
    """Tell a Redis that runs already; one that does not run reads them when it starts."""
    url = f"redis://{_REDIS_USER}:{_text_of(directory / 'redis' / 'password')}@{_REDIS}/0"
    async with aclosing(connect(url)) as redis:
        try:
            await redis.execute_command("ACL LOAD")
        except ERRORS as error:
            log.info("redis reads its users when it starts: %s", explain(error, url))


__all__ = ["make_stack_secrets"]
