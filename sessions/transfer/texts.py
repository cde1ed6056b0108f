"""How values of an export are written as JSON: times, places in the stream, bytes."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field, PlainSerializer

from sessions import times
from sessions.models import StreamId
from sessions.store.engine.rows import packed, unpacked


def _time(value: Any) -> int:
    # pydantic makes its own error of a ValueError only.
    if not isinstance(value, str):
        raise ValueError("must be an RFC 3339 time")  # noqa: TRY004
    return times.parse(value)


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, binascii.Error) as error:
        raise ValueError("must be base64") from error


def _place(value: Any) -> tuple[int, int]:
    if not isinstance(value, str):
        raise ValueError("must be a stream id, such as 1700000000000-0")  # noqa: TRY004
    place = StreamId.parse(value)
    if max(place) >= 2**64:
        raise ValueError("must be a stream id of two 64-bit numbers")
    return packed(place)


Time: TypeAlias = Annotated[int, BeforeValidator(_time), PlainSerializer(times.render)]
Count: TypeAlias = Annotated[int, Field(ge=0, lt=2**62)]
Place: TypeAlias = Annotated[
    tuple[int, int],
    BeforeValidator(_place),
    PlainSerializer(lambda place: str(unpacked(*place))),
]
Base64: TypeAlias = Annotated[
    bytes,
    BeforeValidator(_bytes),
    PlainSerializer(lambda data: base64.b64encode(data).decode()),
]
