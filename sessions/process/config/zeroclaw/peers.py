"""Who may write to a bot: ZeroClaw's `[peer_groups.<name>]`, as `allowed_users` of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from sessions.process.config.notices import ConfigNotice, NoticeKind
from sessions.process.config.zeroclaw.ineffective import ineffective
from sessions.process.config.zeroclaw.upstream import UpstreamPeerGroup, read, tables

EVERYBODY: Final = "*"
# Whom ZeroClaw recognises on a platform by an id alone. Anybody may take a name.
_IDS: Final = {
    "discord": re.compile(r"[0-9]+"),
    "slack": re.compile(r"[UW][A-Z0-9]+"),
}


class PeerGroups:
    """The groups of one configuration."""

    def __init__(self, document: Mapping[str, Any], notices: list[ConfigNotice]) -> None:
        """Raises ConfigError for a group that cannot be read."""
        self._groups = {
            name: read(UpstreamPeerGroup, table, f"peer_groups.{name}")
            for name, table in tables(document, "peer_groups").items()
        }
        self._notices = notices
        for name, group in self._groups.items():
            notices.extend(ineffective(f"peer_groups.{name}", group.others))

    def allowed(self, kind: str, alias: str, former: tuple[str, ...] = ()) -> list[str]:
        """The people who may write on a channel, nobody if no group of it names one.

        `former` are those that the channel's own table names, as older versions had it.
        """
        where = f"channels.{kind}.{alias}"
        groups = [one for one in self._groups.values() if one.channel in (kind, f"{kind}.{alias}")]
        named = [*former, *(peer for group in groups for peer in group.external_peers)]
        ignored = {_bare(peer) for group in groups for peer in group.ignore}
        peers = [peer for peer in dict.fromkeys(map(_bare, named)) if peer and peer not in ignored]
        if EVERYBODY in peers and ignored:
            self._warn(where, "its peer_groups name everybody, so that their ignore has no effect")
        known = [peer for peer in peers if _is_known(kind, peer)]
        if len(known) < len(peers):
            self._warn(where, "its peer_groups hold names; only people with an id may write")
        if not known:
            self._warn(where, "no peer group of it names anybody, so that nobody may write to it")
        return known

    def _warn(self, where: str, text: str) -> None:
        self._notices.append(ConfigNotice(NoticeKind.WARNING, where, text))


def _bare(peer: str) -> str:
    return peer.strip().removeprefix("@")


def _is_known(kind: str, peer: str) -> bool:
    ids = _IDS.get(kind)
    return peer == EVERYBODY or ids is None or ids.fullmatch(peer) is not None


__all__ = ["PeerGroups"]
