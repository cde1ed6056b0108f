"""Whether an ingest process of its own can accept messages and have them answered."""

from __future__ import annotations

import logging
from typing import Final

import httpx

from sessions.access.tokens import ShownToken, TokenScope
from sessions.errors import SessionError
from sessions.process.urls import redacted
from sessions.stream.turns import TurnStream

log = logging.getLogger(__name__)

_SENTENCES: Final = {
    421: "the api may not be called by its name in TURNSTREAM_API_URL, {url}: add that name to "
    "TURNSTREAM_ALLOWED_HOSTS of the api",
    401: "the api does not accept the token in {place}; it needs one of the scope serve",
}


class IngestReadiness:
    """Asks what a turn needs. What changes is logged, so that a missing thing shows in the log."""

    def __init__(self, stream: TurnStream, api: httpx.AsyncClient, token: ShownToken) -> None:
        self._stream = stream
        self._api = api
        self._token = token
        self._told: frozenset[str] = frozenset()

    async def missing(self) -> dict[str, str]:
        """What is missing now of redis, api and token, each with a sentence that says why."""
        found = {**await self._without_redis(), **await self._without_api()}
        if self._told != frozenset(found):
            self._told = frozenset(found)
            for text in found.values():
                log.warning("not ready: %s", text)
            if not found:
                log.info("ready: redis and the api answer")
        return found

    async def _without_redis(self) -> dict[str, str]:
        try:
            await self._stream.facts()
        except SessionError as error:
            return {"redis": str(error)}
        return {}

    async def _without_api(self) -> dict[str, str]:
        """Whether the worker progresses is not asked: events are accepted all the same."""
        if self._token.current() is None:
            place = self._token.place
            return {"token": f"there is no token in {place}; give ingest one of the scope serve"}
        try:
            answer = await self._api.get("/api/tokens/self")
        except httpx.HTTPError as error:
            return {"api": f"the api does not answer: {type(error).__name__}"}
        if answer.is_success:
            return self._without_scope(answer)
        what = "token" if answer.status_code == 401 else "api"
        return {what: self._sentence(answer.status_code)}

    def _without_scope(self, answer: httpx.Response) -> dict[str, str]:
        scope = TokenScope(answer.json()["scope"])
        if scope.includes(TokenScope.SERVE):
            return {}
        return {"token": f"this process' token has the scope {scope}, and needs serve"}

    def _sentence(self, status: int) -> str:
        sentence = _SENTENCES.get(status, "the api answers {status}")
        url = redacted(str(self._api.base_url))
        return sentence.format(url=url, status=status, place=self._token.place)


__all__ = ["IngestReadiness"]
