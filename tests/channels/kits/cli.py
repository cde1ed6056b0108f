"""The command line: lines are posted with a token, and `turnstream chat` reads the replies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Final

from cli.chat import Conversation, SentMessage
from cli.client import ApiClient
from cli.system import TargetSystem
from sessions.access.tokens import TokenScope, create_token, ensure_admin_token
from sessions.errors import Retryable, SessionError
from sessions.process.settings import Settings
from tests.channels.kits.base import AGENTS, Abilities, Delivery, Doors, Person, Said
from tests.channels.kits.posting import PostingKit, told

# People who wait for a reply at the same time.
_READERS: Final = 16
# Seconds for which one waits before it looks whether it is still wanted.
_LOOK: Final = 0.5


class CommandLineKit(PostingKit):
    """People at terminals. Its channels are there without settings."""

    name = "command-line"
    abilities = Abilities(delivers=False, shows_woken=False)
    turns_away = ("401", "401", "403")
    answers_junk = ("400",) * 6

    def __init__(self) -> None:
        super().__init__()
        self._token = ""
        self._read: dict[tuple[Person, str], list[Delivery]] = {}
        self._readers: dict[tuple[Person, str], asyncio.Task[None]] = {}
        self._waited_for: set[tuple[str, int]] = set()
        self._threads = ThreadPoolExecutor(_READERS)

    async def open(self, doors: Doors, stack: AsyncExitStack) -> None:
        await super().open(doors, stack)
        # As it is on the machine of the operator. An agent's own token lets in as well.
        self._token = ensure_admin_token(doors.workspace)
        stack.push_async_callback(self._close)

    async def _close(self) -> None:
        self._waited_for.clear()
        await asyncio.gather(*self._readers.values())
        self._threads.shutdown()

    def session(self, message: Said) -> str:
        return f"cli_{message.agent}_{message.person.name}_user"

    async def bring(self, message: Said, *, replica: int = 0) -> None:
        raw, headers = _body_of(message), _shown(self._token)
        answer = await self._poster.insist(_path(message.agent), raw, headers, replica=replica)
        [taken] = answer["accepted"]
        if message.key in self._waited_for:
            return
        self._waited_for.add(message.key)
        self._follow(message, SentMessage(taken["id"], taken["session"], taken.get("command")))

    def deliveries(self, person: Person, agent: str = AGENTS[0]) -> Sequence[Delivery]:
        return self._read.get((person, agent), [])

    async def intrude(self, message: Said) -> Sequence[str]:
        raw, path = _body_of(message), _path(message.agent)
        [stranger] = [agent for agent in AGENTS if agent != message.agent]
        other, _ = create_token(self.doors.workspace, scope=TokenScope.SEND, agent=stranger)
        ways = [{}, _shown("nobody"), _shown(other)]
        return [told(await self._poster.post(path, raw, headers)) for headers in ways]

    async def bring_junk(self, note: str) -> Sequence[str]:
        agent = AGENTS[0]
        line = {"id": "1", "content": note}
        broken = [{"id": "a b"}, {"id": 7}, {"content": " "}, {"room": 7}, {"room": ""}]
        raws = [f"{{{note}", *(json.dumps({**line, **one}) for one in broken)]
        path, headers = _path(agent), _shown(self._token)
        return [told(await self._poster.post(path, raw.encode(), headers)) for raw in raws]

    async def leave(self, message: Said) -> None:
        self._waited_for.remove(message.key)
        await self._readers.pop((message.person, message.agent))

    def refused(self, message: Said) -> str:
        return (
            f"session {self.session(message)} is not this agent's; an administrator can change "
            "that with `turnstream sessions owner`"
        )

    def _follow(self, message: Said, taken: SentMessage) -> None:
        """Read the reply to it, when those to the messages before it were read."""
        place = (message.person, message.agent)
        before = self._readers.get(place)
        self._readers[place] = asyncio.create_task(self._read_reply(message, taken, before))

    async def _read_reply(
        self, message: Said, taken: SentMessage, before: asyncio.Task[None] | None
    ) -> None:
        if before is not None:
            await before
        loop = asyncio.get_running_loop()
        text = await loop.run_in_executor(self._threads, self._reply_to, message, taken)
        if text is not None:
            self._read.setdefault((message.person, message.agent), []).append(Delivery(text))

    def _reply_to(self, message: Said, taken: SentMessage) -> str | None:
        """What `turnstream chat` prints for it."""
        system = TargetSystem(Settings(), self.doors.api, None, self._token, None, is_bound=False)
        with ApiClient(system) as api:
            talk = Conversation(api, api, agent=message.agent, room=message.person.name)
            while message.key in self._waited_for:
                try:
                    reply = talk.reply_to(taken, patience=_LOOK)
                except Retryable:
                    continue
                except SessionError as error:
                    return str(error)
                return None if reply is None else reply.text
        return None


def _shown(token: str) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _path(agent: str) -> str:
    return f"/channels/cli/{agent}"


def _body_of(message: Said) -> bytes:
    line = {"id": str(message.number), "content": message.text, "room": message.person.name}
    return json.dumps(line).encode()
