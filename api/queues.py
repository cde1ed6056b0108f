"""What waits in a session's lane: shown, and taken out again before it runs."""

from __future__ import annotations

import logging
from typing import Annotated

from fastapi import APIRouter

from api.answers import TOKEN_ERRORS, QueueBody, RemovedBody, ok
from api.callers import Reader, Sender
from api.paths import PartRoute, path_id
from api.routes import Here
from api.service import Caller, Service
from routing.answers import Json
from routing.described import errors
from sessions.stream.lanes.queues import QueueEntry
from sessions.web.rejections import NotFound, Refused

log = logging.getLogger(__name__)


class QueueRoute(PartRoute):
    """A route to a session's queue."""

    part = "queue"


router = APIRouter(prefix="/api/sessions", route_class=QueueRoute, responses=TOKEN_ERRORS)

SessionIdOfQueue = Annotated[str, path_id("queue")]
SessionIdOfEntry = Annotated[str, path_id("queue", None)]


@router.get("/{session_id:path}/queue", responses={**ok(QueueBody), **errors(400, 404)})
async def read_queue(session_id: SessionIdOfQueue, api: Here, caller: Reader) -> Json:
    """The messages that run or wait in the session, first come first."""
    entries = await _entries(api.service, caller, session_id)
    return Json({"session_id": session_id, "queue": [entry.row() for entry in entries]})


@router.delete(
    "/{session_id:path}/queue/{message_id}",
    responses={**ok(RemovedBody), **errors(400, 404, 409)},
)
async def remove_from_queue(
    session_id: SessionIdOfEntry, message_id: str, api: Here, caller: Sender
) -> Json:
    """Take a waiting message out of the queue; it is never run, also if it is delivered again."""
    entries = await _entries(api.service, caller, session_id)
    entry = next((one for one in entries if one.message.id == message_id), None)
    if entry is None:
        raise NotFound("no message with this id waits in the session")
    removal = await api.service.queues.remove(entry)
    if removal.running:
        raise Refused(
            409, "this message is being answered; /stop or the abort route ends its turn", "running"
        )
    if removal.published is None:
        raise NotFound("no message with this id waits in the session any more")
    caller.position = removal.published
    who = caller.principal.agent or "an administrator"
    log.info(
        "message %s of session %r was removed by %s",
        *(message_id, entry.message.session, who),
        extra=entry.message.log_fields,
    )
    return Json({"removed": True, "session_id": session_id, "id": message_id})


async def _entries(service: Service, caller: Caller, session_id: str) -> list[QueueEntry]:
    """What the caller may see of the session's queue; raises NotFound.

    An agent's own messages are there before the session is stored: the first one may still wait.
    """
    view = await service.view_for(caller)
    for key in view.keys_of(session_id):
        entries = await service.queues.entries(key, caller.principal.agent)
        if entries or await view.get(key) is not None:
            return entries
    raise NotFound("Session not found")
