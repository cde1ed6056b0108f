"""What is printed of a session that was woken."""

from __future__ import annotations

from cli.client import Json
from cli.output import Output
from sessions.errors import SessionError


def print_woken(output: Output, woken: Json) -> None:
    """The answer alone on standard output, and whatever else there is to say beside it.

    Raises SessionError if there will be no answer.
    """
    if woken["status"] == "pending":
        output.note(f"{woken['session']}: the message waits for its turn")
        output.note(f"wait for the answer with --await-reply 60 --key {woken['idempotency_key']}")
    elif woken["status"] == "replied":
        output.line(woken["text"])
    else:
        raise SessionError(f"{woken['session']}: {woken['status']}: {woken['text']}")
    if woken["undelivered"]:
        output.note(f"the answer is kept in the session and sent nowhere: {woken['undelivered']}")
