"""The queue of a chat's session: what its agent has to answer there, shown and taken back."""

from __future__ import annotations

from typing import Any, Final

from ingest.gateway import frames
from ingest.gateway.frames import Frame, QueueFrame, RemoveFrame
from sessions.errors import RedisRefused, Retryable
from sessions.stream.lanes.queues import LaneQueues, QueueEntry

# Characters of each message that a client is shown: a full lane of the longest ones would be more
# than may wait for a client. The api shows all of it.
_SHOWN: Final = 2000


async def answer(
    asked: QueueFrame | RemoveFrame, queues: LaneQueues, session: str, agent: str
) -> Frame:
    """The frame that answers; an error of the protocol if it cannot be done, or not now."""
    try:
        entries = await queues.entries(session, agent)
        if isinstance(asked, RemoveFrame):
            return await _removed(asked.id, entries, queues)
    except (Retryable, RedisRefused) as error:
        return frames.refusal(error)
    return {"type": "queue", "entries": [*map(_row, entries)]}


async def _removed(id: str, entries: list[QueueEntry], queues: LaneQueues) -> Frame:
    entry = next((entry for entry in entries if entry.message.id == id), None)
    removal = await queues.remove(entry) if entry is not None else None
    if removal is not None and removal.running:
        text = "This message is being answered; abort its turn instead"
        return {**frames.error(text, "MESSAGE_RUNNING"), "id": id}
    if removal is None or removal.published is None:
        return {**frames.error("No message with this id waits here", "MESSAGE_UNKNOWN"), "id": id}
    return {"type": "queue_removed", "id": id}


def _row(entry: QueueEntry) -> dict[str, Any]:
    row = entry.row()
    content: str = row["content"]
    return {**row, "content": content[:_SHOWN], "cut": len(content) > _SHOWN}
