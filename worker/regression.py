"""A stream that went backwards, and entries that vanished from it: how they are noticed."""

from __future__ import annotations

from sessions.models import StreamCursor
from sessions.stream.turns import StreamFacts


def regression(cursor: StreamCursor, facts: StreamFacts) -> str | None:
    """Why the stream is not the one that the cursor was written for; None where it is."""
    if cursor.epoch == 0:
        return "this store reads the stream for the first time"
    if "epoch" not in facts.store:
        return "the stream's mark is gone: Redis was emptied, or started without its data"
    if facts.epoch < cursor.epoch:
        return f"Redis holds an older state, of epoch {facts.epoch}"
    if facts.epoch > cursor.epoch:
        return f"the store is older than the stream, which has epoch {facts.epoch}"
    if facts.last_id < cursor.applied:
        return f"the stream ends at {facts.last_id}, before the applied entry ({cursor.applied})"
    # A stream that lost its end may have grown beyond the old count before anybody looked; that
    # more of it was read than it ever had is seen however late one looks.
    seen = max(cursor.added, cursor.skipped + cursor.resolved)
    if facts.added is not None and facts.added < seen:
        return f"Redis counts {facts.added} entries, fewer than the {seen} seen before"
    return None


def vanished(cursor: StreamCursor, facts: StreamFacts) -> int:
    """How many entries were added, were not read and are not there; 0 where too many wait."""
    if facts.added is None or facts.behind is None:
        return 0
    return max(0, facts.added - cursor.skipped - cursor.resolved - facts.behind)
