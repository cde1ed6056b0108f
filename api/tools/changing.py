"""The tools that change: send, reset, delete, rename."""

from __future__ import annotations

from api.service import Caller, Service
from api.tools.results import ToolFailure, ToolResult, changed, checked_id, not_found
from api.tools.schemas import DeleteArguments, RenameArguments, ResetArguments, SendArguments
from api.tools.waking import answered
from sessions.models import EventType, Session


async def send_message(service: Service, caller: Caller, wanted: SendArguments) -> ToolResult:
    """Answer `sessions_send`."""
    asked = checked_id(wanted.session_id)
    if not wanted.message.strip():
        raise ToolFailure("Message content must not be empty.")
    caller.name(wanted.idempotency_key)
    view = await service.view_for(caller)
    session = await view.find_to_send(asked)
    if session is None:
        raise not_found(asked)
    if wanted.wake or wanted.await_reply:
        woken = await service.wake(caller, session, wanted.message, seconds=wanted.await_reply)
        return answered(woken, session)
    change = await service.change(
        caller, EventType.APPEND, session, role="user", content=wanted.message
    )
    if change.found_nothing:
        raise not_found(asked)
    requested = "" if asked == session.key else f" (requested '{asked}')"
    return changed(
        change,
        session,
        f"Message sent to session '{session.key}'{requested}.",
        "Failed to send message",
    )


async def reset_session(service: Service, caller: Caller, wanted: ResetArguments) -> ToolResult:
    """Answer `sessions_reset`."""
    asked, session = await _find(service, caller, wanted.session_id)
    if session is None:
        return _already_empty(asked)
    change = await service.change(caller, EventType.RESET, session)
    if change.found_nothing or (change.applied and not session.message_count):
        return _already_empty(session.key)
    return changed(
        change,
        session,
        f"Session '{session.key}' reset ({session.message_count} messages cleared).",
        "Failed to reset session",
        cleared=session.message_count,
    )


async def delete_session(service: Service, caller: Caller, wanted: DeleteArguments) -> ToolResult:
    """Answer `sessions_delete`."""
    asked, session = await _find(service, caller, wanted.session_id)
    if session is None:
        return _already_deleted(asked)
    await service.abort(session)
    change = await service.change(caller, EventType.DELETE, session)
    if change.found_nothing:
        return _already_deleted(session.key)
    return changed(
        change,
        session,
        f"Session '{session.key}' deleted.",
        "Failed to delete session",
    )


async def rename_session(service: Service, caller: Caller, wanted: RenameArguments) -> ToolResult:
    """Answer `sessions_rename`."""
    asked, session = await _find(service, caller, wanted.session_id)
    if session is None:
        raise not_found(asked)
    name = wanted.name.strip()
    change = await service.change(caller, EventType.RENAME, session, name=name)
    if change.found_nothing:
        raise not_found(asked)
    done = f"renamed to '{name}'" if name else "has no name any more"
    return changed(
        change,
        session,
        f"Session '{session.key}' {done}.",
        "Failed to rename session",
        name=name,
    )


async def _find(service: Service, caller: Caller, session_id: str) -> tuple[str, Session | None]:
    """The id that is meant, and its session, None if there is none for this caller."""
    asked = checked_id(session_id)
    view = await service.view_for(caller)
    return asked, await view.find(asked)


def _already_empty(key: str) -> ToolResult:
    return ToolResult(f"Session '{key}' is already empty.", {"session": key, "cleared": 0})


def _already_deleted(key: str) -> ToolResult:
    return ToolResult(
        f"Session '{key}' not found (may have already been deleted).", {"session": key}
    )
