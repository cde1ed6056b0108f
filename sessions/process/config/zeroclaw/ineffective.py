"""Settings of ZeroClaw's that change nothing here, and what does instead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from sessions.process.config.notices import ConfigNotice, NoticeKind

# What has another counterpart here, or must not be taken for granted.
_INSTEAD: Final = {
    "channels.session_ttl_hours": "ZeroClaw does not read it either; session_ttl_hours in "
    "[gateway] deletes idle sessions",
    "channels.max_concurrent_per_channel": "the turns of different sessions do not wait for each "
    "other, and those of one session run one after the other",
    "gateway.require_pairing": "every entry point wants a token; `turnstream token create` makes "
    "one",
    "gateway.paired_tokens": "make new ones with `turnstream token create`",
    "gateway.path_prefix": "routes have none; a proxy in front can take it off",
    "gateway.trust_forwarded_headers": "name the proxies in [turnstream] trusted_proxies",
}


def ineffective(where: str, names: Iterable[str]) -> Iterator[ConfigNotice]:
    """The notices for settings of one table that have no effect: one each for what has a reason."""
    rest: list[str] = []
    for name in sorted(names):
        reason = _INSTEAD.get(f"{where}.{name}")
        if reason is None:
            rest.append(name)
        else:
            yield ConfigNotice(NoticeKind.NO_EFFECT, f"{where}.{name}", f"has no effect: {reason}")
    if rest:
        text = f"{', '.join(rest)} {'has' if len(rest) == 1 else 'have'} no effect here"
        yield ConfigNotice(NoticeKind.NO_EFFECT, where, text)


__all__ = ["ineffective"]
