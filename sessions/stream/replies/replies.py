"""The replies of one prefix that were not taken, as ingest and the api see them."""

from __future__ import annotations

import uuid
from typing import Any, Final

from sessions.errors import RepliesFull
from sessions.stream.redis import RedisClient, Script, patiently
from sessions.stream.replies.values import (
    ChannelReply,
    KeptReply,
    ReplyCount,
    ReplyHeads,
    ReplyLook,
    ReplyState,
    ReplyWatch,
    bounded,
    dumped,
    loaded,
)
from sessions.stream.scripts import script_text

# Replies of one agent in each state. Some 500 bytes each, so that an agent whose platform is away
# takes a megabyte of Redis.
MOST: Final = 1000
# Seconds between the tries on a channel: soon at first, since most failures last a moment; then
# rarely, since a platform that is away has many who ask.
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 300.0
# Seconds that a call goes on while Redis is away, before its caller is told.
PATIENCE: Final = 8.0
# Seconds for which it is known that a loss was reported: longer than any replica stands still.
_REPORTED: Final = 86_400


class Replies:
    """What Redis keeps of replies. Safe for concurrent use, by any number of processes.

    Every method can be repeated: after a cut connection it has no second effect. All work in a
    full Redis, and raise StreamUnavailable where Redis is away for longer than `patience` seconds.
    """

    def __init__(
        self,
        redis: RedisClient,
        *,
        url: str,
        prefix: str,
        give_up: float,
        most: int = MOST,
        patience: float = PATIENCE,
    ) -> None:
        """`give_up` is in seconds; `most` bounds an agent's replies in each state."""
        self._redis = redis
        self._url = url
        self._prefix = prefix
        self._give_up = int(give_up * 1000)
        self._most = most
        self._patience = patience
        self._scripts: dict[str, Script] = {
            name: redis.register_script(script_text("full", "reply_common", f"reply_{name}"))
            for name in _NAMES
        }

    # -- sending -----------------------------------------------------------------------------

    async def look(self, reply: ChannelReply) -> ReplyLook:
        """What there is of a reply, and of those before it in its session."""
        sent, state, others, pause, asked = await self._run(
            "look", reply.channel, reply.session, reply.turn
        )
        return ReplyLook(
            sent, ReplyState(state.decode()) if state else None, others > 0, pause / 1000, asked > 0
        )

    async def note(self, reply: ChannelReply, pieces: int) -> None:
        """Note that so many pieces of a reply were sent.

        It ends the channel's pause, unless the platform asked for that.
        It is remembered for a day, and longer for a reply that is kept. The number never falls.
        """
        await self._run("note", reply.channel, reply.turn, pieces)

    async def park(self, reply: ChannelReply, error: str, *, tries: int) -> ReplyState:
        """Keep a reply to be tried again; the state that it has now, if it is kept already.

        Raises RepliesFull if its agent has as many as it may.
        """
        word, *rest = await self._keep(reply, ReplyState.PARKED, error, tries)
        if word == b"full":
            raise RepliesFull(self._most)
        return ReplyState(rest[0].decode()) if word == b"known" else ReplyState.PARKED

    async def refuse(self, reply: ChannelReply, error: str, *, tries: int) -> list[str]:
        """Keep a reply that its platform will never take, once.

        Gives the turns whose undelivered replies were forgotten because the agent has too many.
        """
        word, *rest = await self._keep(reply, ReplyState.UNDELIVERED, error, tries)
        return _texts(rest[0]) if word == b"kept" else []

    async def fail(self, reply: ChannelReply, error: str, *, asked: float = 0.0) -> None:
        """Note that the channel did not take a reply, which begins a pause or makes it longer.

        `asked` is for how many seconds the platform asked, 0 if it did not.
        """
        pauses = (int(FIRST_PAUSE * 1000), int(LONGEST_PAUSE * 1000), int(asked * 1000))
        await self._run("fail", reply.channel, reply.turn, bounded(error), *pauses)

    async def give_up(self, reply: ChannelReply, error: str) -> list[str]:
        """Try a parked reply no more; the turns that were forgotten, as `refuse` gives them."""
        return _texts(await self._run("give_up", reply.turn, bounded(error), self._most))

    async def heads(self, channel: str, count: int) -> ReplyHeads:
        """The first replies of so many sessions, none during the channel's pause.

        Those whose time is over become undelivered, in pauses too.
        """
        heads, expired, gone = await self._run("heads", channel, count, _NEVER_TRIED, self._most)
        return ReplyHeads([*map(loaded, heads)], _texts(expired), _texts(gone))

    async def watch(self, known: ReplyWatch | None) -> ReplyWatch:
        """All that is kept, by its names; `known` is what an earlier call gave."""
        life, changes = (known.life, known.changes) if known is not None else ("", -1)
        found = await self._run("watch", uuid.uuid4().hex, life, changes)
        now_life, now_changes, channels, *members = found
        if members:
            pairs = (member.split(" ", 1) for member in _texts(members[0]))
            replies = frozenset((turn, channel) for turn, channel in pairs)
        else:
            assert known is not None
            replies = known.replies
        return ReplyWatch(now_life.decode(), now_changes, frozenset(_texts(channels)), replies)

    async def claim_report(self, known: ReplyWatch) -> bool:
        """Whether to report that Redis lost what is known: True for one replica of them all."""
        key = f"{self._prefix}reply_lost:{known.life}:{known.changes}"
        command = ("SET", key, 1, "NX", "EX", _REPORTED)
        return bool(
            await patiently(
                lambda: self._redis.execute_command(*command), self._url, self._patience
            )
        )

    # -- looking and acting ------------------------------------------------------------------

    async def find(self, turn: str) -> KeptReply | None:
        """The reply to a turn; None if it is not here."""
        found = await self._run("find", turn)
        return loaded(found) if found else None

    async def page(self, after: int, count: int) -> list[KeptReply]:
        """So many replies in the order in which they came, behind the one with that number."""
        return [*map(loaded, await self._run("page", after, count))]

    async def retry(self, turn: str) -> KeptReply | None:
        """Have a reply sent as soon as possible, in its old order; None if it is not here.

        An undelivered one is parked again, with a fresh end; its channel's pause is over. Raises
        RepliesFull if its agent has as many parked ones as it may.
        """
        word, *rest = await self._run("retry", turn, self._give_up, self._most)
        if word == b"full":
            raise RepliesFull(self._most)
        return loaded(rest[0]) if word == b"parked" else None

    async def remove(self, turn: str) -> bool:
        """Forget a reply; False if it is not here. The note of what was sent stays for a day."""
        return bool(await self._run("remove", turn))

    async def counts(self) -> list[ReplyCount]:
        """How many each channel has; nothing of channels that have none."""
        return [ReplyCount(name.decode(), *rest) for name, *rest in await self._run("counts")]

    async def _keep(
        self, reply: ChannelReply, state: ReplyState, error: str, tries: int
    ) -> list[Any]:
        text = dumped(reply, state, error, tries)
        return await self._run("keep", text, self._give_up, self._most, self._most)

    async def _run(self, name: str, *arguments: object) -> Any:
        keys, args = [f"{self._prefix}reply_state"], [self._prefix, *arguments]
        return await patiently(
            lambda: self._scripts[name](keys=keys, args=args), self._url, self._patience
        )


def _texts(found: list[bytes]) -> list[str]:
    return [text.decode() for text in found]


_NAMES: Final = (
    *("look", "note", "keep", "fail", "give_up", "heads", "watch"),
    *("find", "page", "retry", "remove", "counts"),
)
_NEVER_TRIED: Final = "its time was over before it could be tried"
