"""`POST /channels/{type}/{alias}`: what platforms push."""

from __future__ import annotations

import logging
from typing import Any, Final

from fastapi import APIRouter, Request

from ingest.answers import refusals
from ingest.channels.base import Channel, ChannelMessage, PushedMessages, PushRequest, name_of
from ingest.channels.failure_counts import ChannelFailure
from ingest.channels.receiver import AcceptedMessage
from ingest.routes import IngestRoute, services_of
from ingest.services import Services
from routing.answers import Json
from sessions.errors import InvalidEvent
from sessions.web.asgi import read_body
from sessions.web.rejections import NotFound

log = logging.getLogger(__name__)

# Bytes of a request: a platform's largest are some 10 KiB, a text of ours has 256 KiB at most.
MAX_BODY: Final = 1024 * 1024

router = APIRouter(route_class=IngestRoute)


@router.post(
    "/channels/{type}/{alias}",
    summary="Accept messages that a platform pushes",
    responses={
        200: {
            "model": dict[str, Any],
            "description": "Redis has the message; the body is the one that the platform expects",
        },
        **refusals(404),
    },
)
async def take_post(type: str, alias: str, request: Request) -> Json:
    """Verify and take a platform's request; 200 means that Redis has all of its messages."""
    services = services_of(request)
    channel = services.channels.get(f"{type}.{alias}")
    if channel is None:
        raise NotFound(f"there is no channel {type}.{alias}")
    body = await read_body(request.stream(), MAX_BODY)
    pushed = await channel.open(PushRequest(request.headers, body))
    taken = [await _taken(services, channel, pushed, incoming) for incoming in pushed.messages]
    return Json(_answer(pushed, [_shown(one) for one in taken if one is not None]))


async def _taken(
    services: Services, channel: Channel, pushed: PushedMessages, incoming: ChannelMessage
) -> AcceptedMessage | None:
    try:
        return await services.receiver.accept(channel, incoming)
    except InvalidEvent as error:
        if not pushed.leave_out:
            raise
        name = name_of(channel)
        services.troubles.add(ChannelFailure.LEFT_OUT, channel=name)
        log.warning("%s: a message is left out: %s", name, error)
        return None


def _answer(pushed: PushedMessages, taken: list[dict[str, Any]]) -> dict[str, Any]:
    return dict(pushed.answer) if pushed.answer is not None else {"accepted": taken}


def _shown(taken: AcceptedMessage) -> dict[str, Any]:
    found: dict[str, Any] = {"id": taken.id, "session": taken.session}
    return found if taken.command is None else {**found, "command": taken.command}
