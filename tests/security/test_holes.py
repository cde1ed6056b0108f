"""The comparison of worlds finds holes: each of these is planted, and found."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from api.view import View
from ingest.gateway.chat import Chat
from sessions.access.channel_agents import ChannelAgents
from sessions.access.check import Access
from sessions.access.tokens import Principal
from sessions.models import Event, Position
from sessions.store.engine import rules
from sessions.store.engine.rows import SessionRow
from sessions.stream.lanes import values as lanes
from tests.security.differ import Leak, Twins, try_batch
from tests.security.races import try_changing_hands, try_during_turns
from tests.security.test_apart import within_twins

Plant = Callable[[pytest.MonkeyPatch], None]

# Enough for all of them; a hole that is found ends the search.
CASES: Final = 1500


def always(owner: type | Any, name: str, value: Any) -> Plant:
    """The method gives this, whatever it is asked."""
    return lambda patch: patch.setattr(owner, name, lambda *args, **more: value)


def everywhere(name: str, value: Any) -> Plant:
    """The function of the lanes' `values` is another one, in every module that has it."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        original = getattr(lanes, name)
        for module in [*sys.modules.values()]:
            if vars(module).get(name) is original:
                patch.setattr(module, name, value)

    return plant


def published(**changes: Any) -> Plant:
    """The entry points publish events that lack something."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        original = Access.published

        def lacking(self: Access, principal: Principal, event: Event) -> Event:
            return original(self, principal, event)._replace(**changes)

        patch.setattr(Access, "published", lacking)

    return plant


def unhidden(patch: pytest.MonkeyPatch) -> None:
    """What makes no session is refused for its owner, not for want of a session."""
    original = Access.published

    def open_eyed(self: Access, principal: Principal, event: Event) -> Event:
        return original(self, principal, event)._replace(if_exists=event.if_exists)

    patch.setattr(Access, "published", open_eyed)


def exhumed(patch: pytest.MonkeyPatch) -> None:
    """A session that another agent deleted is told from one that never was."""
    patch.setattr(rules, "as_seen", lambda event, session: session)


def unnarrowed(patch: pytest.MonkeyPatch) -> None:
    """Lists and searches are an administrator's."""
    patch.setattr(Access, "scope", lambda *_: None)


def numbered_on(patch: pytest.MonkeyPatch) -> None:
    """A session that another agent makes again goes on with the numbers of the old one."""
    original = rules.reopen

    def reopen(session: SessionRow, moment: int, *, owner: str | None) -> None:
        original(session, moment, owner=session.agent)

    patch.setattr(rules, "reopen", reopen)


def all_notices(patch: pytest.MonkeyPatch) -> None:
    """Each user who has a chat open on the session is told what is added to it."""

    def show(self: Chat, notice: Any) -> None:
        if self.key == notice.session:
            self.outbox.put({"type": "message", "content": notice.content})

    patch.setattr(Chat, "show", show)


def positions(patch: pytest.MonkeyPatch) -> None:
    """Anybody's position is reached when its event has an outcome."""

    async def has_outcome(self: View, position: Position) -> bool:
        return await self._backend.outcome(position.event_id) is not None

    patch.setattr(View, "has_outcome", has_outcome)


HOLES: Final[Mapping[str, Plant]] = {
    "everything is seen": always(Access, "sees", True),
    "every session is every agent's": always(Access, "has", True),
    "every key is available": always(Access, "available", True),
    "lists are not narrowed": unnarrowed,
    "every outcome is told": always(Access, "knows_outcome", True),
    "every position is known": positions,
    "changes name no agent": always(Access, "claims", {}),
    "events name no publisher": published(by=None),
    "events name neither publisher nor agent": published(by=None, agent=None),
    "what must not make a session may": unhidden,
    "no key is reserved": always(ChannelAgents, "agent_of_key", None),
    "the store refuses nobody": always(rules, "_is_anothers", False),
    "what others deleted is there": exhumed,
    "numbers go on for a new owner": numbered_on,
    "lanes have no agent": everywhere("lane_of", lambda session, agent: session),
    "notices go to all": all_notices,
}


async def search(twins: Twins) -> None:
    """All kinds of cases, until one finds something."""
    serial = itertools.count()
    await try_during_turns(twins, "t", 100, serial)
    await try_changing_hands(twins, "h", 48)
    for start in range(0, CASES, 300):
        await try_batch(twins, f"b{start}", 300, serial)


@pytest.mark.security
@pytest.mark.timeout(300)
@pytest.mark.parametrize("hole", HOLES)
async def test_a_planted_hole_is_found(
    hole: str, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
):
    HOLES[hole](monkeypatch)
    with pytest.raises(Leak):
        await within_twins(tmp_path, redis_url, Random(hole), ("anna", "bert"), search)
