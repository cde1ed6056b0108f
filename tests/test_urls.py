"""The text that is shown for a URL with a secret in it, from any writer and in any bad form."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest.channels.making import checked_url
from sessions.errors import ConfigError, SessionError
from sessions.process.config.loading import load_settings
from sessions.process.settings import AgentSettings
from sessions.process.urls import holds_password, without_secrets
from sessions.stream.redis import ERRORS, RedisError, connect, explain, redacted

# Letters that stand nowhere else in the texts, and all that means something in a URL.
LETTERS = "XYZ"
PASSWORDS = st.text(f"{LETTERS}@:/?#%&=;,[] .-_~+!$'\"\\é", min_size=1, max_size=12).filter(
    lambda text: any(letter in text for letter in LETTERS)
)
# `{}` is the password, as it is or percent-encoded.
FORMS = (
    "redis://user:{}@127.0.0.1:1/0",
    "redis://:{}@127.0.0.1:1",
    "rediss://user:{}@[::1]:1/0?ssl_cert_reqs=none",
    "redis://127.0.0.1:1/0?password={}",
    "redis://user:{}@127.0.0.1:1/0?password={}",
    "redis://127.0.0.1:1/0?db=1&username=user&password={}",
    "unix:///nowhere/a@b.sock?password={}",
    "unix:///nowhere/redis.sock?password={}&db=3",
    "unix://user:{}@/nowhere/redis.sock",
    "http://user:{}@127.0.0.1:1/path",
    "https://hooks.example.org/{}",
    "https://api.telegram.org/bot12:{}/getMe",
    "postgresql://user:{}@one:5432,two:5432/turnstream",
    "postgresql+psycopg://one/turnstream?user=u&password={}",
    "user:{}@127.0.0.1:1",
    "{}@127.0.0.1",
)


# Where an unencoded : or @ makes another URL that nobody can tell from it.
STRICT = ("redis://{}@127.0.0.1:1", "redis://user:{}")


def urls(password: str) -> Iterator[str]:
    """The password in each form, encoded and not."""
    for form in FORMS + STRICT:
        yield form.replace("{}", quote(password, safe=""))
    for form in FORMS:
        yield form.replace("{}", password)


def leaks(text: str) -> bool:
    """Whether a letter of a password is in it."""
    return any(letter in text for letter in LETTERS)


def refusal(url: str) -> str:
    """Why a Redis URL is refused, empty if it is not."""
    try:
        connect(url)
    except ConfigError as error:
        return str(error)
    return ""


@given(PASSWORDS)
def test_no_letter_of_a_password_is_shown(password: str):
    for url in urls(password):
        assert not leaks(redacted(url)), url


@given(PASSWORDS)
def test_a_redis_url_that_is_refused_is_refused_without_its_password(password: str):
    for url in urls(password):
        assert not leaks(refusal(url)), url


@given(PASSWORDS, st.sampled_from(FORMS))
def test_an_error_of_redis_is_told_without_the_password_of_its_url(password: str, form: str):
    url = form.replace("{}", quote(password, safe=""))
    if "://" in form and (":{}@" in form or "password={}" in form):
        said = f"unknown command 'AUTH', with args beginning with: '{password}'"
        assert not leaks(str(explain(RedisError(said), url)))


@given(st.sampled_from(FORMS), PASSWORDS, st.booleans())
def test_a_url_with_a_password_is_known_for_one(form: str, password: str, encoded: bool):
    url = form.replace("{}", quote(password, safe="") if encoded else password)
    if ":{}@" in form and "://" in form:
        assert holds_password(url)
    if "password={}" in form and encoded:
        assert holds_password(url)


@contextmanager
def refused() -> Iterator[pytest.ExceptionInfo[ConfigError]]:
    with pytest.raises(ConfigError) as caught:
        yield caught
    cause: BaseException | None = caught.value
    while cause is not None:
        assert not leaks(str(cause))
        assert isinstance(cause, ConfigError | ValidationError)
        cause = None if cause.__suppress_context__ else cause.__context__


@given(PASSWORDS)
def test_an_api_url_with_a_password_is_refused_without_showing_it(password: str):
    for form in ("http://user:{}@127.0.0.1:1", "http://{}@host", "redis://:{}@host", "{}"):
        for written in (password, quote(password, safe="")):
            with refused():
                load_settings(None, {"TURNSTREAM_API_URL": form.replace("{}", written)})


@given(PASSWORDS)
def test_an_address_of_others_that_reads_wrongly_is_refused_without_showing_it(password: str):
    for form in ("https://user:1/{}@host", "https://user:1#{}@host", "https://user:x/{}@host"):
        # With a = it would be a query, in which an @ is nothing strange.
        url = form.replace("{}", password.replace("=", ""))
        with pytest.raises(ConfigError) as caught:
            checked_url(url, "channels.webhook.shop.send_url")
        assert not leaks(str(caught.value))
        with pytest.raises(ValidationError) as wrong:
            AgentSettings(provider="openai", base_url=url)
        assert not leaks(str(wrong.value.errors()[0]["msg"]))


@given(PASSWORDS)
def test_an_unreachable_redis_is_named_without_its_password(password: str):
    async def reach(url: str) -> SessionError:
        async with aclosing(connect(url)) as client:
            try:
                await client.execute_command("PING")
            except ERRORS as error:
                return explain(error, url)
        raise AssertionError

    for form in ("redis://user:{}@127.0.0.1:1/0", "unix:///nowhere.sock?password={}"):
        url = form.replace("{}", quote(password, safe=""))
        told = str(asyncio.run(reach(url)))
        assert not leaks(told)
        assert "does not answer" in told


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:XYZ@redis.example.org:6379/0", "redis://user:***@redis.example.org:6379/0"),
        ("redis://:XYZ@127.0.0.1/2", "redis://:***@127.0.0.1/2"),
        ("rediss://user:X@Y/Z@[::1]:6379", "rediss://user:***@[::1]:6379"),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("unix:///run/a@b/redis.sock?db=3", "unix:///run/a@b/redis.sock?db=3"),
        ("unix:///run/redis.sock?password=X&db=3", "unix:///run/redis.sock?***"),
        ("http://127.0.0.1:42617", "http://127.0.0.1:42617"),
        ("https://hooks.example.org/XYZ", "https://hooks.example.org/***"),
        ("postgresql://u:X@one:1,two:2/turns", "postgresql://u:***@one:1,two:2/turns"),
        ("redis://X?Y@127.0.0.1", "redis://***"),
        ("X", "***"),
    ],
)
def test_what_helps_to_find_the_server_is_shown(url: str, shown: str):
    assert redacted(url) == shown


def test_a_password_that_reads_as_host_and_port_is_never_asked_of_a_name_server():
    for url in ("redis://user:12/X@host/0", "redis://user:12#X@host", "redis://user:12?X@host"):
        with pytest.raises(ConfigError, match="percent-encoded"):
            connect(url)


def test_the_text_of_others_is_shown_where_no_secret_is_in_it():
    url = "redis://user:XYZ@host"
    assert without_secrets("wrong XYZ, host", url) == "wrong ***, host"
    assert without_secrets("wrong", "redis://host") == "wrong"
