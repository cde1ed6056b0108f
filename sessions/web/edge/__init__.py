"""The outer edge of a web process: what is refused before any entry point sees it.

    edge = Edge.of(settings.turnstream, tokens)
    await serve(app, settings.gateway, environ=..., edge=edge)

One object for a process, since connections, tokens and counts are the process' own. ingest, api
and both of them together have the same edge.
"""

from __future__ import annotations

from dataclasses import dataclass

from sessions.access.tokens import TokenVerifier
from sessions.process.settings import OwnSettings
from sessions.web.edge.addresses import Proxies
from sessions.web.edge.connections import Connections
from sessions.web.edge.refusals import Limit, RefusalCounts


@dataclass(frozen=True, slots=True)
class Edge:
    """The limits of one web process and what they have counted so far.

    Without `tokens` every token counts as an agent's.
    """

    settings: OwnSettings
    proxies: Proxies
    refusals: RefusalCounts
    http: Connections
    websockets: Connections
    tokens: TokenVerifier | None = None

    @classmethod
    def of(cls, settings: OwnSettings, tokens: TokenVerifier | None = None) -> Edge:
        """The edge of these settings; raises ConfigError for a proxy that is no address."""
        proxies = Proxies(settings.trusted_proxies)
        return cls(
            settings,
            proxies,
            RefusalCounts(),
            Connections(proxies, most=settings.max_connections_per_address),
            Connections(proxies, most=settings.max_websockets_per_address),
            tokens,
        )


__all__ = ["Edge", "Limit", "RefusalCounts"]
