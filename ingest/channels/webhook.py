"""The generic webhook: any program that can sign a request, in the form of Standard Webhooks.

Three headers, `webhook-id`, `webhook-timestamp` (seconds) and `webhook-signature`, which holds
`v1,` and the base64 of the HMAC-SHA256 of `{id}.{timestamp}.{body}`. Replies go out signed
likewise, under an id that is the same for every try.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, cast

import httpx

from ingest.channels.base import (
    Channel,
    ChannelMessage,
    Outgoing,
    PauseAsked,
    PushedMessages,
    PushRequest,
    Take,
    Undeliverable,
)
from ingest.channels.making import (
    ChannelDependencies,
    checked_url,
    is_loopback,
    trusted_certificates,
)
from sessions import times
from sessions.errors import ConfigError, Retryable
from sessions.ids import derived_id
from sessions.process.settings import WebhookSettings
from sessions.strict_json import parse_json
from sessions.web.rejections import BrokenPayload, OldTimestamp, WrongSignature

# Seconds that a signature is good for, into the future too: what Standard Webhooks advises.
TOLERANCE: Final = 300
# Bytes of a key at least; a shorter one can be guessed from a single signed request.
SHORTEST_KEY: Final = 16
# Seconds for the receiver of a reply to answer.
SEND_TIMEOUT: Final = 15.0

_ID: Final = re.compile(r"[\x21-\x7e]{1,256}")
# Statuses that pass by themselves.
_PASSING: Final = frozenset({408, 425, 429})


def webhooks(parts: ChannelDependencies) -> Iterator[Channel]:
    """The webhooks that are enabled. Raises ConfigError."""
    for alias, own in parts.settings.channels.webhook.items():
        if own.enabled:
            yield _webhook(parts, alias, own)


def _webhook(parts: ChannelDependencies, alias: str, own: WebhookSettings) -> Channel:
    where = f"channels.webhook.{alias}"
    url = checked_url(own.send_url, f"{where}.send_url")
    outside = not is_loopback(url or "")
    client = httpx.AsyncClient(
        timeout=SEND_TIMEOUT,
        follow_redirects=False,
        trust_env=outside,
        verify=trusted_certificates(by_environment=outside),
    )
    parts.stack.push_async_callback(client.aclose)
    return WebhookChannel(alias, _keys(parts, where, own), send_url=url, client=client)


def _keys(parts: ChannelDependencies, where: str, own: WebhookSettings) -> list[bytes]:
    secret = parts.secret(f"{where}.secret", own.secret, own.secret_env, own.secret_file)
    previous = parts.secret(
        f"{where}.previous_secret",
        own.previous_secret,
        own.previous_secret_env,
        own.previous_secret_file,
    )
    if secret is None:
        raise ConfigError(
            f"{where}: set secret, secret_env or secret_file; nothing unsigned is taken"
        )
    keys = [key_of(secret, f"{where}.secret")]
    return keys if previous is None else [*keys, key_of(previous, f"{where}.previous_secret")]


def key_of(secret: str, where: str) -> bytes:
    """The key of a secret: the base64 behind `whsec_`, else its own bytes.

    Raises ConfigError for base64 that is none, and for a key that is too short.
    """
    key = _decoded(secret, where)
    if len(key) < SHORTEST_KEY:
        raise ConfigError(
            f"{where} must have {SHORTEST_KEY} bytes at least (behind whsec_: decoded), and has "
            f"{len(key)}: set a longer one, such as `openssl rand -hex 32` makes"
        )
    return key


def _decoded(secret: str, where: str) -> bytes:
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:  # base64's own error, or a letter that is not ASCII
        raise ConfigError(f"{where}: the text after whsec_ must be base64") from None


def sign(key: bytes, id: str, timestamp: str, body: bytes) -> str:
    """The signature header of a message."""
    digest = hmac.digest(key, f"{id}.{timestamp}.".encode() + body, sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


class WebhookChannel:
    """One program that posts messages, and may be posted the replies."""

    type: str = "webhook"

    def __init__(
        self,
        alias: str,
        keys: Sequence[bytes],
        *,
        send_url: str | None,
        client: httpx.AsyncClient,
    ) -> None:
        """`keys`: the first signs replies, each of them is accepted on requests."""
        self.alias = alias
        self._keys = keys
        self._send_url = send_url
        self._client = client

    @property
    def delivers(self) -> bool:
        """Whether there is an address for replies."""
        return self._send_url is not None

    async def open(self, request: PushRequest) -> PushedMessages:
        """The message of a request that is signed with one of the keys, and of now."""
        message_id = self._verified(request)
        fields = _fields(parse_json(request.body))
        sender, thread = fields["sender"], fields.get("thread_id")
        target = thread or sender
        incoming = ChannelMessage(
            id=derived_id("wh", self.alias, message_id),
            text=fields["content"],
            sender=sender,
            target=target,
            address=thread or "",
            at=times.now(),
            thread=thread,
        )
        return PushedMessages([incoming])

    def _verified(self, request: PushRequest) -> str:
        message_id = request.headers.get("webhook-id", "")
        timestamp = request.headers.get("webhook-timestamp", "")
        given = request.headers.get("webhook-signature", "").split(" ")
        if not _ID.fullmatch(message_id) or not re.fullmatch(r"[0-9]{1,12}", timestamp):
            raise WrongSignature("webhook-id and webhook-timestamp must be there and be signed")
        right = [sign(key, message_id, timestamp, request.body) for key in self._keys]
        # All are compared, and each in constant time, so that time tells nothing.
        matches = [
            hmac.compare_digest(a.encode(), b.encode("utf-8", "replace"))
            for a in right
            for b in given
        ]
        if not any(matches):
            raise WrongSignature("webhook-signature does not match this id, timestamp and body")
        if abs(time.time() - int(timestamp)) > TOLERANCE:
            raise OldTimestamp(f"webhook-timestamp is more than {TOLERANCE} s away from now")
        return message_id

    def split(self, text: str) -> Sequence[str]:
        """All of it: programs have no limit that we know of."""
        return [text]

    async def send(self, reply: Outgoing) -> None:
        """Post the reply, signed."""
        assert self._send_url is not None
        body = json.dumps(_body(reply), ensure_ascii=False).encode()
        timestamp = str(int(time.time()))
        headers = {
            "content-type": "application/json",
            "webhook-id": reply.id,
            "webhook-timestamp": timestamp,
            "webhook-signature": sign(self._keys[0], reply.id, timestamp, body),
        }
        try:
            answer = await self._client.post(self._send_url, content=body, headers=headers)
        except httpx.HTTPError as error:
            raise Retryable(f"send_url does not answer: {type(error).__name__}") from error
        _check(answer)

    async def show_work(self, address: str) -> None:
        """There is no sign for that."""

    async def listen(self, take: Take) -> None:
        """Nothing to fetch: messages are pushed."""


def _fields(document: Any) -> Mapping[str, str]:
    found = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    for name in ("sender", "content"):
        value = found.get(name)
        if not isinstance(value, str) or not value.strip():
            raise BrokenPayload(f'"{name}" must be a text that is not empty')
    thread = found.get("thread_id")
    if not isinstance(thread, str | None):
        raise BrokenPayload('"thread_id" must be a text, if it is given')
    return {name: found[name] for name in ("sender", "content", "thread_id") if found.get(name)}


def _body(reply: Outgoing) -> dict[str, Any]:
    body: dict[str, Any] = {
        "content": reply.text,
        "recipient": reply.sender,
        "status": reply.status,
        "turn": reply.turn,
        "session": reply.session,
    }
    return {**body, "thread_id": reply.address} if reply.address else body


def _check(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    status = answer.status_code
    if status >= 500 or status in _PASSING:
        if seconds := _seconds(answer):
            raise PauseAsked(f"send_url answered {status}", retry_after=seconds)
        raise Retryable(f"send_url answered {status}")
    raise Undeliverable(f"send_url answered {status}")


def _seconds(answer: httpx.Response) -> float:
    told = answer.headers.get("retry-after", "")
    return min(float(told), 3600.0) if re.fullmatch(r"[0-9]{1,9}", told) else 0.0


__all__ = ["TOLERANCE", "WebhookChannel", "key_of", "sign", "webhooks"]
