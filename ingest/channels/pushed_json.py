"""The JSON objects that platforms push."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from ingest.channels.base import Unreadable
from sessions.strict_json import InvalidJson, parse_json
from sessions.web.rejections import BrokenPayload


def pushed_object(body: bytes) -> Mapping[str, Any]:
    """The object that was posted. Raises InvalidJson or BrokenPayload if it is none.

    Raises Unreadable for an object with what nothing can store, such as half a surrogate pair. It
    would be posted again for ever if it was refused.
    """
    try:
        document = parse_json(body)
    except InvalidJson:
        if _is_object(body):
            raise Unreadable("it holds a text that cannot be stored") from None
        raise
    if not isinstance(document, dict):
        raise BrokenPayload("the body must be a JSON object")
    return cast("dict[str, Any]", document)


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except RecursionError:
        return body.lstrip().startswith(b"{")
    except ValueError:
        return False
