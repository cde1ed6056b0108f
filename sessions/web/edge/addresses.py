"""Where a request comes from: its peer, or what a trusted proxy says of it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

from sessions.errors import ConfigError
from sessions.web.asgi import AsgiScope

# Any of them shows that the request came through a proxy.
_FORWARDED: Final = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip"})
# Addresses whose reading is remembered: reading one costs some microseconds, at each connection.
_REMEMBERED: Final = 4096


class Proxies:
    """The proxies whose `X-Forwarded-For` is believed; nobody else's is.

    Raises ConfigError for an entry that is neither an address nor a network.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._networks = [_network(name.strip()) for name in names]

    def trusts(self, address: str) -> bool:
        """Whether this is the address of a trusted proxy; False for what is no address."""
        found = _parse(address)
        return found is not None and any(found in network for network in self._networks)

    def client(self, scope: AsgiScope) -> str:
        """The address of the caller: the right-most one that is no trusted proxy's.

        What stands left of it in `X-Forwarded-For` may be made up by the caller. Without a peer,
        as in calls without a network, it is empty.
        """
        peer = _peer(scope)
        if not self._networks or not self.trusts(peer):
            return peer
        for hop in reversed(_hops(scope)):
            found = _parse(hop)
            if found is None:
                return peer
            peer = str(found)
            if not self.trusts(peer):
                return peer
        return peer

    def is_local(self, scope: AsgiScope) -> bool:
        """Whether the caller is on this machine. Nobody is who came through a proxy."""
        peer = _parse(_peer(scope))
        if peer is None or not peer.is_loopback or self.trusts(str(peer)):
            return False
        return all(name.lower() not in _FORWARDED for name, _ in scope["headers"])


def group_of(address: str) -> str:
    """What counts as one caller: an address, or the /64 network of an IPv6 one.

    A household has a whole such network, so its single addresses are no bound for anybody.
    """
    found = _parse(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((int(found) >> 64 << 64, 64)))
    return str(found) if found is not None else address


def _peer(scope: AsgiScope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


def _hops(scope: AsgiScope) -> list[str]:
    lines = [value for name, value in scope["headers"] if name.lower() == b"x-forwarded-for"]
    return [hop.strip() for hop in b",".join(lines).decode("latin-1").split(",")]


@lru_cache(maxsize=_REMEMBERED)
def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found


def _network(name: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(name)
    except ValueError as error:
        raise ConfigError(
            f"trusted_proxies: {name!r} is neither an address nor a network: {error}"
        ) from None
