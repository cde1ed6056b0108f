"""Receipts: what came into a store from elsewhere, so that it comes in once."""

from __future__ import annotations

from typing import NamedTuple


class Receipt(NamedTuple):
    """What was brought in from one source: of one session of it, or (session "") of all of it.

    `digest` (hex sha256) and `size` (bytes) are of the source as it was read; the digest is empty
    until all of it is in. `messages` counts those that came in, `aside` what was set aside.
    `detail` is what the `kind` of source needs for itself, `at` the time of the last change.
    """

    source: str
    session: str
    kind: str
    digest: str
    size: int
    messages: int
    aside: int
    at: int
    detail: str
