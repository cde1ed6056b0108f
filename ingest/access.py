"""Who calls: the bearer of a token, known to the workspace or to the api."""

from __future__ import annotations

import hashlib
import time
from typing import Final

import httpx

from ingest.errors import ApiUnavailable, Forbidden, Unauthorized
from sessions.access.tokens import Principal, TokenScope, TokenVerifier
from sessions.web.asgi import utf8_header

# Seconds for which an answer of the api is believed: as long as a revoked token still works here.
_BELIEVED: Final = 10.0
# Answers remembered, so that guessing tokens does not fill the memory.
_REMEMBERED: Final = 1000


async def caller(
    verifier: TokenVerifier, token: str | None, needed: TokenScope, *, agent: str | None = None
) -> Principal:
    """Whose token that is, narrowed to `agent` (the header) where it asks for that.

    Raises Unauthorized or, where its scope is too small or it is another agent's, Forbidden.
    """
    principal = await verifier.verify(token) if token else None
    if principal is None:
        raise Unauthorized("send Authorization: Bearer <token> with a token of this workspace")
    if agent is not None:
        principal = principal.narrowed(utf8_header(agent, "X-Turnstream-Agent"))
    if principal is None:
        raise Forbidden("this token may not act for the agent in X-Turnstream-Agent")
    if not principal.may(needed):
        raise Forbidden(f"this token has the scope {principal.scope}; {needed} is needed")
    return principal


def bearer(header: str | None) -> str | None:
    """The token in an Authorization header, None where there is none."""
    scheme, _, token = (header or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


class ApiTokens:
    """Asks the api whose a token is: for an ingest process that has no workspace."""

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
