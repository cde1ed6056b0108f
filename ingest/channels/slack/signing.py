"""Slack's signature, version v0: HMAC-SHA256 of `v0:{timestamp}:{raw body}`."""

from __future__ import annotations

import hmac
import re
import time
from hashlib import sha256
from typing import Final

from ingest.channels.base import PushRequest
from sessions.web.rejections import OldTimestamp, WrongSignature

# Seconds that a signature is good for, into the future too: what Slack advises.
TOLERANCE: Final = 300

_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """The signature header of a request."""
    digest = hmac.digest(secret.encode(), f"v0:{timestamp}:".encode() + body, sha256)
    return f"v0={digest.hex()}"


def verify(request: PushRequest, secret: str) -> None:
    """Return if Slack signed the request with the secret, just now.

    Raises WrongSignature and OldTimestamp.
    """
    timestamp = request.headers.get("x-slack-request-timestamp", "")
    shown = request.headers.get("x-slack-signature", "")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise WrongSignature("X-Slack-Request-Timestamp must be there, in seconds")
    right = sign(secret, timestamp, request.body)
    if not hmac.compare_digest(shown.encode("utf-8", "replace"), right.encode()):
        raise WrongSignature("X-Slack-Signature does not match this timestamp and body")
    if abs(time.time() - int(timestamp)) > TOLERANCE:
        raise OldTimestamp(f"X-Slack-Request-Timestamp is more than {TOLERANCE} s away from now")
