"""Replies that their platform has not taken: to look at, to try again, to drop.

Ingest keeps them and sends them. Whether a reply still has its text, the store says: a record that
has lost it is dropped here as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query

from api.answers import TOKEN_ERRORS, DroppedReplyBody, RepliesBody, ReplyBody, ok
from api.callers import Reader, Sender
from api.render import reply_row
from api.rest import Cursor, Limit
from api.routes import Api, Here, TokenRoute
from api.service import Caller
from routing.answers import Json
from routing.described import errors
from sessions.reading import Page
from sessions.store.cursors import count_of
from sessions.stream.replies.values import KeptReply, ReplyState, ReplyText
from sessions.web.rejections import NotFound

router = APIRouter(route_class=TokenRoute, responses=TOKEN_ERRORS)

# Replies that are read from Redis at a time, some 100 KB.
_LOOK: Final = 200

State = Annotated[ReplyState | None, Query(description="only those in this state")]
Channel = Annotated[str | None, Query(description="only those of this channel (`type.alias`)")]
SessionKey = Annotated[str | None, Query(description="only those of this session, by its key")]


@router.get("/api/replies", responses=ok(RepliesBody))
async def list_replies(
    api: Here,
    caller: Reader,
    state: State = None,
    channel: Channel = None,
    session: SessionKey = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Json:
    """Replies that were not taken, in the order in which they came; an agent sees its own."""
    wanted = {"state": state, "channel": channel, "session": session}
    after = count_of(cursor) if cursor is not None else 0
    page = await _matching(api, caller, wanted, limit=limit, after=after)
    rows = [reply_row(kept) for kept in page.items]
    return Json({"replies": rows, "next_cursor": page.next_cursor})


@router.post("/api/replies/{turn}/retry", responses={**ok(ReplyBody), **errors(404)})
async def retry_reply(turn: str, api: Here, caller: Sender) -> Json:
    """Have a reply sent as soon as possible; an undelivered one is parked again, in its order."""
    await _existing(api, caller, turn)
    kept = await api.replies.retry(turn)
    if kept is None:
        raise NotFound(_ABSENT)
    return Json(reply_row(kept))


@router.delete("/api/replies/{turn}", responses={**ok(DroppedReplyBody), **errors(404)})
async def drop_reply(turn: str, api: Here, caller: Sender) -> Json:
    """Try a reply no more and forget it; its text stays in the session."""
    await _existing(api, caller, turn)
    if not await api.replies.remove(turn):
        raise NotFound(_ABSENT)
    return Json({"turn": turn, "dropped": True})


async def _matching(
    api: Api, caller: Caller, wanted: dict[str, Any], *, limit: int, after: int
) -> Page[KeptReply]:
    """The first replies behind `after` that match and that the caller may see."""
    found: list[KeptReply] = []
    while kept := await api.replies.page(after, _LOOK):
        matching = [one for one in kept if _matches(one, wanted)]
        found += await _shown(api, caller, matching)
        if len(found) > limit:
            return Page(found[:limit], str(found[limit - 1].number))
        after = kept[-1].number
    return Page(found, None)


def _matches(kept: KeptReply, wanted: dict[str, Any]) -> bool:
    has = {"state": kept.state, "channel": kept.reply.channel, "session": kept.reply.session}
    return all(value in (None, has[name]) for name, value in wanted.items())


async def _existing(api: Api, caller: Caller, turn: str) -> None:
    """Raise NotFound unless the caller may see a reply to that turn."""
    kept = await api.replies.find(turn)
    # The store is waited for in any case, so that another agent's answers like none.
    if not await _shown(api, caller, [kept] if kept is not None else []):
        raise NotFound(_ABSENT)


async def _shown(api: Api, caller: Caller, found: Sequence[KeptReply]) -> list[KeptReply]:
    """Those of these replies that the caller may see and that still have their text.

    The store is asked after Redis was, so that what a reply stands on has been applied by then.
    """
    await api.service.view_for(caller)
    own = [one for one in found if caller.principal.agent in (None, one.reply.agent)]
    return [one for one in own if await _has_text(api, caller, one)]


async def _has_text(api: Api, caller: Caller, kept: KeptReply) -> bool:
    reply = kept.reply
    if reply.text is not ReplyText.STORED:
        return True
    if await api.service.message_of(reply.agent, reply.session, reply.event_id) is not None:
        return True
    if caller.after is None and not caller.any_age:
        # Known for sure: reset, deleted, taken back, or another agent's by now.
        await api.replies.remove(reply.turn)
    return False


_ABSENT: Final = "there is no such reply"
