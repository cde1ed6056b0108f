"""How many connections each address has open."""

from __future__ import annotations

from sessions.web.edge.addresses import Proxies, group_of


class Connections:
    """Connections of one kind, counted by the address of their peer.

    Connections from a trusted proxy are counted for nobody: they belong to all of its callers.
    """

    def __init__(self, proxies: Proxies, *, most: int) -> None:
        self._proxies = proxies
        self._most = most
        self._open: dict[str, int] = {}
        # Refused ones that are not closed yet, of all addresses.
        self.leaving = 0

    def has_room(self, address: str) -> bool:
        """Whether this address may have one more."""
        return self._open.get(group_of(address), 0) < self._most or self._proxies.trusts(address)

    def opened(self, address: str) -> None:
        """Count one more; `closed` must follow."""
        group = group_of(address)
        self._open[group] = self._open.get(group, 0) + 1

    def closed(self, address: str) -> None:
        """Count one less."""
        group = group_of(address)
        left = self._open[group] - 1
        if left:
            self._open[group] = left
        else:
            del self._open[group]

    @property
    def open(self) -> int:
        """All of them together."""
        return sum(self._open.values())
