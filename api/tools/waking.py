"""What is told of a session that was woken: to models as a text, to programs as structure."""

from __future__ import annotations

from typing import Any, Final

from api.tools.results import ToolResult
from api.turn_results import TurnResult, TurnStatus
from api.waking import Woken
from sessions.access.answers import NoWay
from sessions.models import Session

_PENDING: Final = "pending"
_ENDED: Final = {
    TurnStatus.REPLIED: "Session '{key}' answered:\n{text}",
    TurnStatus.FAILED: "The turn in session '{key}' failed:\n{text}",
    TurnStatus.ABORTED: "The turn in session '{key}' was aborted:\n{text}",
    TurnStatus.REMOVED: "Nobody answered in session '{key}': {text}.",
}
_WAITS: Final = (
    "The message waits in session '{key}', whose agent answers it in its turn. {way} Do not send "
    "it again; to wait for the answer, call this with the same arguments, await_reply and "
    "idempotency_key '{name}'."
)
_SENT: Final = "The answer goes out by the session's own channel."
_KEPT: Final = "The answer is kept in the session and sent nowhere: {why}."


def answered(woken: Woken, session: Session) -> ToolResult:
    """The answer of `sessions_send` with `wake`; pending while the turn has not ended."""
    data = woken_data(woken, session)
    if woken.end is None:
        way = _KEPT.format(why=woken.way) if isinstance(woken.way, NoWay) else _SENT
        text = _WAITS.format(key=session.key, way=way, name=woken.key)
        return ToolResult(text, data, pending=True)
    return ToolResult(_told(woken.end, session), data)


def woken_data(woken: Woken, session: Session) -> dict[str, Any]:
    """The same as structure. `undelivered` says why the answer is sent nowhere, null if it is."""
    end = woken.end
    return {
        "session": session.key,
        "turn": woken.turn,
        "idempotency_key": woken.key,
        "status": end.status if end is not None else _PENDING,
        "text": end.text if end is not None else None,
        "undelivered": woken.way if isinstance(woken.way, NoWay) else None,
    }


def _told(end: TurnResult, session: Session) -> str:
    return _ENDED[end.status].format(key=session.key, text=end.text)
