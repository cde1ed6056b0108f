"""Whose a token is, asked of the api: for an ingest process that has no workspace."""

from __future__ import annotations

import hashlib
import time
from typing import Final

import httpx

from sessions.access.tokens import Principal, TokenScope
from sessions.web.rejections import ApiUnavailable

# Seconds for which an answer of the api is believed: as long as a revoked token still works here.
_BELIEVED: Final = 10.0
# Answers remembered, so that guessing tokens does not fill the memory.
_REMEMBERED: Final = 1000


class ApiTokens:
    """Asks the api whose a token is, and believes its answer for a while."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._answers: dict[bytes, tuple[float, Principal | None]] = {}

    async def verify(self, token: str) -> Principal | None:
        """Who the token belongs to, as of 10 s ago at most; raises ApiUnavailable."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        until, principal = self._answers.get(digest, (0.0, None))
        if time.monotonic() < until:
            return principal
        principal = await self._ask(token)
        self._remember(digest, principal)
        return principal

    async def _ask(self, token: str) -> Principal | None:
        if not token.isascii():
            return None
        try:
            answer = await self._client.get(
                "/api/tokens/self", headers={"Authorization": f"Bearer {token}"}
            )
            if answer.status_code == 401:
                return None
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise ApiUnavailable(f"the api did not say whose a token is: {error!r}") from error
        found = answer.json()
        return Principal(found["agent"], TokenScope(found["scope"]))

    def _remember(self, digest: bytes, principal: Principal | None) -> None:
        if len(self._answers) >= _REMEMBERED:
            self._answers.pop(next(iter(self._answers)))
        self._answers[digest] = (time.monotonic() + _BELIEVED, principal)
