"""A conversation on the command line, by the channel `cli` of an agent."""

from __future__ import annotations

import contextlib
import time
from typing import Final, NamedTuple
from urllib.parse import quote

from cli.client import ApiClient, Json, NotFoundByApi
from ingest.failures import CLEARED
from sessions.errors import Retryable, SessionError
from sessions.ids import new_id
from sessions.process.retry import Pauses, retry_blocking
from sessions.stream.lanes.closing import Closing, reply_id, rollback_id

# Seconds that a reply is waited for: an agent has 300, and others may be before us.
PATIENCE: Final = 600.0
# Seconds for which a message that is refused for now is sent again.
INSISTENCE: Final = 30.0
# Seconds between two looks for the reply.
_PAUSE: Final = 0.1
# Seconds between two looks whether the message is still there: it takes two more requests.
_GONE_PAUSE: Final = 1.0
# The ways in which a turn that has a reply can have failed.
_FAILURES: Final = (Closing.FAILED, Closing.TIMED_OUT, Closing.INTERRUPTED)
_TRANSFER: Final = "an administrator can change that with `turnstream sessions owner`"
# What is said if the store keeps nothing of a message and sending it again would not help.
TAKEN_BACK: Final = "The agent could not answer; nothing of it is kept."


class SentMessage(NamedTuple):
    """A message that the system has."""

    id: str
    session: str
    command: str | None


class Replied(NamedTuple):
    """What came back; `failed` where the agent could not answer."""

    text: str
    failed: bool = False


class Conversation:
    """One person, one agent, one session. `ingest` takes the messages, `api` shows the replies."""

    def __init__(self, ingest: ApiClient, api: ApiClient, *, agent: str, room: str) -> None:
        self._ingest = ingest
        self._api = api
        self._path = f"/channels/cli/{quote(agent, safe='')}"
        self._room = room

    def send(self, text: str) -> SentMessage:
        """Send a message; while it is refused for now, again. Raises SessionError."""
        body: Json = {"id": new_id(), "content": text, "room": self._room}
        answer = retry_blocking(
            lambda: self._ingest.post(self._path, body),
            on=Retryable,
            # As long as each refusal asks for: it knows better when there is room again.
            pauses=Pauses(0.0, heeded=True),
            patience=INSISTENCE,
        )
        [taken] = answer["accepted"]
        return SentMessage(taken["id"], taken["session"], taken.get("command"))

    def reply_to(self, taken: SentMessage, *, patience: float = PATIENCE) -> Replied | None:
        """What the message was answered, waited for; None where it asks for no answer.

        Raises Retryable after `patience` seconds, SessionError where it was not taken.
        """
        if taken.command == "stop":
            return None
        deadline = time.monotonic() + patience
        next_check = time.monotonic() + _GONE_PAUSE
        while (now := time.monotonic()) < deadline:
            found = self._look(taken)
            if found is not None:
                return found
            if now > next_check:
                self._check_still_there(taken)
                next_check = now + _GONE_PAUSE
            time.sleep(_PAUSE)
        raise Retryable(
            f"no reply within {patience:g} s; `turnstream sessions show {taken.session}` shows it "
            "when it is there"
        )

    def _look(self, taken: SentMessage) -> Replied | None:
        own = self._outcome(taken.id)
        if own is None:
            return None
        if own["reason"] == "not_owner":
            raise SessionError(f"session {taken.session} is not this agent's; {_TRANSFER}")
        if taken.command is not None:
            return Replied(CLEARED)
        if own["outcome"] != "applied":
            raise SessionError(own["detail"] or f"the message was not taken: {own['reason']}")
        for ending in (reply_id(taken.id), rollback_id(taken.id)):
            if self._outcome(ending) is not None:
                text = self._stored(taken, reply_id(taken.id))
                if text is None:
                    return Replied(TAKEN_BACK, failed=True)
                return Replied(text, failed=self._has_failed(taken))
        return None

    def _check_still_there(self, taken: SentMessage) -> None:
        """Raise SessionError if nothing is left of the message: no answer will come.

        A turn that finds its session to be another agent's publishes nothing, and what a token may
        not see looks as if it was not there.
        """
        with contextlib.suppress(Retryable):
            if not self._waits(taken) and not self._was_applied(taken):
                raise SessionError(
                    f"nothing is left of the message: session {taken.session} may be another "
                    f"agent's, {_TRANSFER}; or Redis lost its data"
                )

    def _waits(self, taken: SentMessage) -> bool:
        """Whether the message is in its session's queue, at work or waiting."""
        try:
            found = self._api.get(f"/api/sessions/{quote(taken.session, safe='')}/queue")
        except NotFoundByApi:
            return False
        return any(row["id"] == taken.id for row in found["queue"])

    def _was_applied(self, taken: SentMessage) -> bool:
        """Whether the message has an outcome, with everything that is on the stream now."""
        try:
            self._api.get(f"/api/outcomes/{quote(taken.id, safe='')}")
        except NotFoundByApi:
            return False
        return True

    def _has_failed(self, taken: SentMessage) -> bool:
        return any(self._outcome(closing.event_id(taken.id)) for closing in _FAILURES)

    def _outcome(self, event_id: str) -> Json | None:
        path = f"/api/outcomes/{quote(event_id, safe='')}"
        try:
            return self._api.get(path, consistency="any")
        except (NotFoundByApi, Retryable):
            return None

    def _stored(self, taken: SentMessage, event_id: str) -> str | None:
        found = self._api.tool("sessions_history", session_id=taken.session, limit=100)
        texts = {message["id"]: message["content"] for message in found["data"]["messages"]}
        return texts.get(event_id)
