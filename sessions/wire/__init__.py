"""The one codec of the stream contract, version 1: stream fields <-> Event.

Every entry point uses it: the publisher before it sends, the HTTP routes before they publish, the
worker when it reads. So what one of them accepts, none of the others refuses. The contract itself
is docs/stream-contract.md.
"""

from __future__ import annotations

from sessions.wire.decoding import decode, decode_all, parse
from sessions.wire.encoding import encode
from sessions.wire.fields import (
    DEFAULT_MAX_CONTENT,
    MAX_LABEL,
    MAX_ROLE,
    MAX_SESSION,
    VERSION,
    is_id,
)
from sessions.wire.framing import DEAD_PAYLOAD, frame, unframe

__all__ = [
    "DEAD_PAYLOAD",
    "DEFAULT_MAX_CONTENT",
    "MAX_LABEL",
    "MAX_ROLE",
    "MAX_SESSION",
    "VERSION",
    "decode",
    "decode_all",
    "encode",
    "frame",
    "is_id",
    "parse",
    "unframe",
]
