"""Whose a request is, as far as limits go: a token's, or that of the address it comes from."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from sessions.access.tokens import TokenScope
from sessions.errors import Retryable
from sessions.web.asgi import AsgiScope
from sessions.web.authentication import token_of
from sessions.web.edge import Edge
from sessions.web.edge.addresses import group_of

log = logging.getLogger(__name__)

# Seconds for which it is believed whose a token is; a revoked one is refused at its entry point.
_BELIEVED: Final = 10.0
# Accounts that are kept; some 200 bytes each. The one that was idle for longest goes first.
_MOST_ACCOUNTS: Final = 10_000
# Accounts looked at for one that may go.
_LOOK: Final = 32


@dataclass(slots=True)
class Account:
    """What one caller has spent and has open. `rate` 0 is no limit on requests per second."""

    most_working: int
    most_chats: int
    rate: int
    burst: int
    budget: float
    seen: float
    checked: float = 0.0
    working: int = 0
    held: int = 0
    chats: int = 0

    @property
    def idle(self) -> bool:
        """Whether nothing is lost with it but what it has spent."""
        return not (self.working or self.held or self.chats)

    def spend(self, cost: float) -> None:
        """Spend some of the budget, beyond its end as well: the next requests then wait for it."""
        if self.rate:
            self._refill()
            self.budget -= cost

    def overdrawn(self) -> float:
        """Seconds until there is budget for one more request; 0 if there is."""
        if not self.rate:
            return 0.0
        self._refill()
        return max(0.0, (1.0 - self.budget) / self.rate)

    def _refill(self) -> None:
        now = time.monotonic()
        self.budget = min(self.burst, self.budget + (now - self.seen) * self.rate)
        self.seen = now


class Accounts:
    """The accounts of one process, by hash of the token or by address."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._settings = edge.settings
        self._open: OrderedDict[str, Account] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    async def of(self, scope: AsgiScope) -> Account:
        """The account of a request: its token's, or its address' if the token is nobody's.

        Whether a new token is somebody's is not asked for an address that is overdrawn: made-up
        tokens would cost more than the requests themselves.
        """
        token = token_of(scope)
        if token is None:
            return self._of_address(scope)
        name = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
        found = self._open.get(name)
        if found is None and self._of_address(scope).overdrawn():
            return self._of_address(scope)
        if found is not None and time.monotonic() - found.checked < _BELIEVED:
            self._open.move_to_end(name)
            return found
        return await self._checked(name, token, found) or self._of_address(scope)

    def of_probes(self, scope: AsgiScope) -> Account:
        """The account of an address for its health checks, which nothing else uses up."""
        return self._kept(f"probes {self._address(scope)}", wide=False)

    async def _checked(self, name: str, token: str, found: Account | None) -> Account | None:
        """The account of a token; None if it is nobody's, or if that cannot be told now."""
        try:
            wide = await self._is_wide(token)
        except Retryable as error:
            log.debug("whose a token is cannot be told: %s", error)
            return found
        if wide is None:
            return None
        account = self._kept(name, wide=wide)
        account.checked = time.monotonic()
        return account

    async def _is_wide(self, token: str) -> bool | None:
        if self._edge.tokens is None:
            return False
        principal = await self._edge.tokens.verify(token)
        if principal is None:
            return None
        return principal.may(TokenScope.SERVE)

    def _of_address(self, scope: AsgiScope) -> Account:
        name = f"address {self._address(scope)}"
        account = self._kept(name, wide=False)
        # Its connections are bounded already, and a platform that posts webhooks has one address.
        account.most_working = self._settings.max_connections_per_address
        return account

    def _address(self, scope: AsgiScope) -> str:
        return group_of(self._edge.proxies.client(scope))

    def _kept(self, name: str, *, wide: bool) -> Account:
        account = self._open.get(name)
        if account is None:
            self._make_room()
            account = self._open[name] = self._new(wide=wide)
        self._open.move_to_end(name)
        return account

    def _new(self, *, wide: bool) -> Account:
        own = self._settings
        return Account(
            most_working=own.max_requests_per_service_token if wide else own.max_requests_per_token,
            most_chats=own.max_chats_per_service_token if wide else own.max_chats_per_token,
            rate=0 if wide else own.requests_per_second,
            burst=own.requests_burst,
            budget=own.requests_burst,
            seen=time.monotonic(),
        )

    def _make_room(self) -> None:
        for _ in range(_LOOK):
            if len(self._open) < _MOST_ACCOUNTS:
                return
            name, account = self._open.popitem(last=False)
            if not account.idle:
                self._open[name] = account
