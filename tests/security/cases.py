"""What one agent's programs may send, as generated: requests and chats, as plain data.

A case aims at a key, at ids and at words of another agent; now and then at the caller's own, so
that what is compared is not only refusals.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final
from urllib.parse import quote, urlencode

from sessions.ids import space_of
from sessions.models import EventType
from tests.security.scenes import WORDS, Spot

MCP: Final = {"accept": "application/json, text/event-stream"}


@dataclass(frozen=True)
class Call:
    """One request over HTTP."""

    kind: str
    who: str
    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    # Asked afterwards; `{name}` in its path is that text of the answer.
    then: tuple[str, ...] = ()


@dataclass(frozen=True)
class Talk:
    """One chat: how it is opened, and what the client sends."""

    kind: str
    query: str
    frames: tuple[str, ...]
    token: str
    way: str = "header"


Case = Call | Talk


@dataclass
class Aim:
    """What the next case aims at, and what it may do."""

    rng: Random
    actor: str
    owner: str
    spots: list[Spot]
    # Whether the actor may send to the owner's sessions, which then is no secret.
    neighbours: bool = False
    serial: Iterator[int] = field(default_factory=lambda: iter(range(1 << 60)))
    said: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])

    def chance(self, share: float) -> bool:
        """True so often."""
        return self.rng.random() < share

    def fresh(self) -> str:
        """An id that nobody used before."""
        return f"fresh-{next(self.serial)}"

    def key(self, spot: Spot) -> str:
        """How a caller names the session: mostly that one, sometimes one of its own."""
        if self.chance(0.1):
            return f"own-{self.rng.randrange(3)}"
        return spot.key.removeprefix("gw_") if self.chance(0.4) else spot.key

    def id(self, spot: Spot) -> str:
        """An id of the owner's, the one of its answer, or one of the caller's own."""
        return self.rng.choice([self._others_id(spot), f"own-{self.rng.randrange(3)}:0"])

    def _others_id(self, spot: Spot) -> str:
        base = self.rng.choice(spot.ids)
        return self.rng.choice([base, f"{base}:reply"])

    def reader(self) -> str:
        """Who asks for what may be read."""
        serve = f"serve as {self.actor}"
        return self.rng.choice(
            [self.actor, f"{self.actor}-reads", f"admin as {self.actor}", serve, self.actor]
        )

    def sender(self) -> str:
        """Who changes; one that only reads is refused."""
        return self.rng.choice([self.actor] * 4 + [f"admin as {self.actor}", self.reader()])

    def headers(self, spot: Spot) -> dict[str, str]:
        """Headers that any request may have."""
        found: dict[str, str] = {}
        if self.chance(0.2):
            found["x-turnstream-session"] = spot.key
        if self.chance(0.15):
            found["x-turnstream-after"] = self.position(spot)
        if self.chance(0.03):
            found["x-turnstream-agent"] = self.rng.choice([self.owner, self.actor, "nobody"])
        return found

    def position(self, spot: Spot) -> str:
        """A position that names an id of the owner's or of the caller's, made up."""
        event = self.id(spot)
        space = self.rng.choice(["", f"@{space_of(self.owner)}", f"@{space_of(self.actor)}"])
        return f"{self.rng.choice([0, 0, 1])}.{self.rng.choice(['0-1', '1-0'])}.{event}{space}"

    def freshness(self, spot: Spot) -> dict[str, str]:
        """`?after=` and `?consistency=`."""
        if self.chance(0.15):
            return {"after": self.position(spot)}
        return {"consistency": "any"} if self.chance(0.2) else {}


def _tool(aim: Aim, spot: Spot) -> tuple[str, dict[str, Any], bool]:
    """A tool, its arguments, and whether it changes something."""
    at = {"session_id": aim.key(spot)}
    word, limit = aim.rng.choice(WORDS), aim.rng.choice([1, 2, 50])
    reads: list[tuple[str, dict[str, Any]]] = [
        ("sessions_list", {"limit": limit}),
        ("sessions_history", {**at, "limit": limit}),
        ("sessions_current", {}),
        ("sessions_search", {"query": word}),
        ("sessions_search", {"query": word, **at}),
    ]
    changes: list[tuple[str, dict[str, Any]]] = [
        ("sessions_send", {**at, "message": f"sent {word}"}),
        ("sessions_reset", at),
        ("sessions_delete", at),
        ("sessions_rename", {**at, "name": aim.rng.choice([word, ""])}),
    ]
    if aim.neighbours:
        changes.pop(0)
    does = aim.chance(0.5)
    name, arguments = aim.rng.choice(changes if does else reads)
    if aim.chance(0.03):
        arguments = {**arguments, "limit": aim.rng.choice([0, "x", None, 10**6])}
    return name, arguments, does


def _keyed(aim: Aim, spot: Spot, headers: dict[str, str]) -> dict[str, str]:
    """With an `Idempotency-Key`, now and then one that somebody used."""
    if aim.chance(0.4):
        key = aim.id(spot) if aim.chance(0.7) else aim.fresh()
        return {**headers, "idempotency-key": key}
    return headers


def rest_tool(aim: Aim, spot: Spot) -> Call:
    """A tool over REST."""
    name, arguments, does = _tool(aim, spot)
    who = aim.sender() if does else aim.reader()
    headers = aim.headers(spot)
    path = f"/api/tools/{name}?{urlencode(aim.freshness(spot))}"
    then = ("next_cursor",) if name != "sessions_current" and aim.chance(0.3) else ()
    if does:
        headers = _keyed(aim, spot, headers)
    return Call(f"tool {name}", who, "POST", path, headers, json.dumps(arguments), then)


def mcp_tool(aim: Aim, spot: Spot) -> Call:
    """A tool over MCP."""
    name, arguments, does = _tool(aim, spot)
    who = aim.sender() if does else aim.reader()
    headers = {**MCP, "content-type": "application/json", **aim.headers(spot)}
    if does:
        headers = _keyed(aim, spot, headers)
    params = {"name": name, "arguments": arguments}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return Call(f"mcp {name}", who, "POST", "/mcp", headers, json.dumps(body))


def resource(aim: Aim, spot: Spot) -> Call:
    """A session as a resource."""
    at = f"/api/sessions/{quote(aim.key(spot), safe='')}"
    word = aim.rng.choice(WORDS)
    method, path, body = aim.rng.choice(
        [
            ("GET", f"{at}/messages", None),
            ("GET", f"{at}/state", None),
            ("POST", f"{at}/messages", {"content": f"put {word}"}),
            ("POST", f"{at}/abort", None),
            ("PUT", at, {"name": word}),
            ("DELETE", at, None),
        ]
    )
    headers, who = aim.headers(spot), aim.reader()
    if method != "GET":
        headers, who = _keyed(aim, spot, headers), aim.sender()
    suffix = path.removeprefix(at) or "/"
    given = None if body is None else json.dumps(body)
    query = urlencode(aim.freshness(spot))
    return Call(f"{method} session{suffix}", who, method, f"{path}?{query}", headers, given)


def listing(aim: Aim, spot: Spot) -> Call:
    """Lists of sessions, with filters that name what is the owner's."""
    where: dict[str, str] = {**aim.freshness(spot)}
    if aim.chance(0.3):
        where["agent"] = aim.rng.choice([aim.owner, aim.actor, "nobody"])
    if aim.chance(0.3):
        where["channel"] = f"webhook.{aim.rng.choice([aim.owner, aim.actor])}"
    if aim.chance(0.3):
        where["state"] = aim.rng.choice(["running", "idle", "error"])
    if aim.chance(0.2):
        where["since"] = "2026-05-01T12:05:00Z"
    if aim.chance(0.4):
        where["q"] = aim.rng.choice(WORDS)
    if aim.chance(0.3):
        where["limit"] = aim.rng.choice(["1", "2"])
    path = f"/api/sessions?{urlencode(where)}"
    if aim.chance(0.3):
        path = f"/api/sessions/running?{urlencode(aim.freshness(spot))}"
    then = ("next_cursor",) if aim.chance(0.5) else ()
    kind = path.partition("?")[0]
    return Call(f"GET {kind}", aim.reader(), "GET", path, aim.headers(spot), None, then)


def outcome(aim: Aim, spot: Spot) -> Call:
    """What became of an event."""
    asked: dict[str, str] = {**aim.freshness(spot)}
    if aim.chance(0.2):
        asked["by"] = aim.rng.choice([aim.owner, aim.actor])
    if aim.chance(0.3):
        asked["entry"] = aim.position(spot)
    path = f"/api/outcomes/{aim.id(spot)}?{urlencode(asked)}"
    return Call("GET outcome", aim.reader(), "GET", path, aim.headers(spot))


def operators(aim: Aim, spot: Spot) -> Call:
    """What is for administrators and for ingest only, or the same for everybody."""
    at = quote(spot.key, safe="")
    turn = {"session": spot.key, "agent": aim.owner, "limit": 5}
    former = {"former": spot.key, "channel": f"webhook.{aim.owner}", "room": "r", "sender": "ada"}
    method, path, body = aim.rng.choice(
        [
            ("GET", "/api/dead-letters", None),
            ("GET", "/api/dead-letters/1-0-x", None),
            ("POST", "/api/dead-letters/1-0-x/replay", None),
            ("DELETE", "/api/dead-letters/1-0-x", None),
            ("GET", "/api/owners", None),
            ("POST", "/api/owners", {"from": aim.owner, "to": aim.actor}),
            ("PUT", f"/api/sessions/{at}/owner", {"agent": aim.actor}),
            ("POST", "/api/turns/history", turn),
            ("POST", "/api/turns/keys", former),
            ("GET", f"/api/turns/outcome/{aim.id(spot)}", None),
            ("GET", "/api/tools", None),
            ("GET", "/api/tokens/self", None),
            ("GET", "/asyncapi.json", None),
            ("GET", "/openapi.json", None),
            ("GET", "/healthz", None),
        ]
    )
    who = aim.rng.choice([aim.actor, f"{aim.actor}-reads", f"serve as {aim.actor}", "nobody", ""])
    given = None if body is None else json.dumps(body)
    name = path.replace(at, "{id}") if "sessions" in path else path
    name = name if "outcome" not in name else "/api/turns/outcome"
    return Call(f"{method} {name}", who, method, path, aim.headers(spot), given)


def _event(aim: Aim, spot: Spot) -> dict[str, Any]:
    """An event of any type; it makes a session only where that is no secret."""
    kinds = ["append", "rollback", "reset", "delete", "rename", "state", "context", "owner", "dead"]
    kind = aim.rng.choice([*kinds, "append", "rollback", "append"])
    event: dict[str, Any] = {"type": kind, "id": aim.id(spot) if aim.chance(0.5) else aim.fresh()}
    if kind != "dead":
        event["session"] = spot.key if aim.chance(0.9) else f"own-{aim.rng.randrange(3)}"
    event |= _BODIES[EventType(kind)](aim, spot)
    creates = kind in ("append", "context")
    if aim.chance(0.3) or (creates and not spot.creatable):
        event["if_exists"] = True
    return event | _routing(aim, spot)


def _append(aim: Aim, spot: Spot) -> dict[str, Any]:
    event = {"role": aim.rng.choice(["user", "assistant", "tool"]), "content": "said"}
    if aim.chance(0.5):
        event["turn"] = aim.id(spot)
    if aim.chance(0.2):
        event["state"] = "running"
    return event


def _rollback(aim: Aim, spot: Spot) -> dict[str, Any]:
    event = {"expect": "said"} if aim.chance(0.2) else {"target": aim.id(spot)}
    return {**event, "close_with": "closed"} if aim.chance(0.3) else event


def _turned(**fields: str) -> Callable[[Aim, Spot], dict[str, Any]]:
    return lambda aim, spot: {**fields, **({"turn": aim.id(spot)} if aim.chance(0.3) else {})}


_BODIES: Final[dict[EventType, Callable[[Aim, Spot], dict[str, Any]]]] = {
    EventType.APPEND: _append,
    EventType.ROLLBACK: _rollback,
    EventType.RESET: _turned(),
    EventType.DELETE: _turned(),
    EventType.RENAME: _turned(name="renamed"),
    EventType.STATE: _turned(state="error"),
    EventType.CONTEXT: lambda aim, spot: {},
    EventType.OWNER: lambda aim, spot: {"agent": aim.actor, "expect_agent": aim.owner},
    EventType.DEAD: lambda aim, spot: {"target": aim.id(spot), "action": "replay"},
}


def _routing(aim: Aim, spot: Spot) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if aim.chance(0.2):
        found["agent"] = aim.rng.choice([aim.actor, aim.actor, aim.owner])
    if aim.chance(0.25):
        names = [f"webhook.{aim.actor}"] * 3 + [f"webhook.{aim.owner}", "telegram.home"]
        found["channel"] = aim.rng.choice(names)
    if aim.chance(0.2):
        found |= {"room": "r", "sender": "eve"}
    if aim.chance(0.02):
        found["by"] = aim.rng.choice([aim.actor, aim.owner])
    if aim.chance(0.1):
        # Each another time: the order of sessions of the same moment is not what is compared.
        minutes, seconds = divmod(next(aim.serial) % 3600, 60)
        found["at"] = f"2026-05-01T12:{minutes:02}:{seconds:02}Z"
    return found


def events(aim: Aim, spot: Spot) -> Call:
    """One published event, or several, and afterwards what became of it."""
    made = [_event(aim, spot) for _ in range(aim.rng.choice([1, 1, 1, 2, 4]))]
    headers, body = aim.headers(spot), json.dumps({"events": made})
    kind = "event " + "+".join(sorted({event["type"] for event in made}))
    if len(made) == 1 and aim.chance(0.5):
        if aim.chance(0.3):
            headers["idempotency-key"] = made[0].pop("id")
        body = json.dumps(made[0])
    then = ("outcome",) if aim.chance(0.7) else ()
    return Call(kind, aim.sender(), "POST", "/api/events", headers, body, then)


def channel(aim: Aim, spot: Spot) -> Call:
    """A line at the actor's or the owner's terminal, or a webhook's post that nobody signed."""
    room = spot.key.removeprefix(f"cli_{aim.actor}_").removesuffix("_user")
    creatable = spot.claimable and spot.creatable
    alias = aim.actor if creatable and aim.chance(0.8) else aim.owner
    line = json.dumps({"id": aim.rng.choice(["1", "2"]), "content": "typed", "room": room})
    if aim.chance(0.2):
        path = f"/channels/webhook/{aim.owner}"
        return Call("POST /channels/webhook", aim.actor, "POST", path, aim.headers(spot), line)
    path = f"/channels/cli/{alias}"
    return Call("POST /channels/cli", aim.sender(), "POST", path, aim.headers(spot), line)


def chat(aim: Aim, spot: Spot) -> Talk:
    """A chat: some only open it, some say something, some say what is no message."""
    key = spot.key.removeprefix("gw_") if aim.chance(0.9) else "own"
    query = {"agent": aim.actor, "session_id": key}
    # Only a session under `gw_` is the one that the key names; the others are new ones.
    fresh = not spot.key.startswith("gw_") and key != "own"
    says = spot.creatable or fresh or key == "own"
    if says and aim.chance(0.2):
        query["name"] = "named"
    if aim.chance(0.05):
        query["agent"] = aim.rng.choice([aim.owner, "nobody", ""])
    frames = [_frame(aim, spot, says=says) for _ in range(aim.rng.choice([0, 1, 1, 2, 3]))]
    way = aim.rng.choice(["header", "header", "subprotocol", "query"])
    token = aim.rng.choice([aim.actor] * 8 + [f"{aim.actor}-reads", "nobody"])
    return Talk("chat", urlencode(query), tuple(frames), token, way)


def _frame(aim: Aim, spot: Spot, *, says: bool) -> str:
    if says and aim.chance(0.6):
        frame = {"type": "message", "content": aim.rng.choice(WORDS)}
        if aim.chance(0.5):
            frame["id"] = _client_id(aim, spot)
        return json.dumps(frame)
    resumed = {"type": "connect", "session_id": spot.key, "turn_id": aim.id(spot)}
    return aim.rng.choice(
        [
            json.dumps(resumed),
            '{"type": "connect"}',
            '{"type": "message", "content": ""}',
            '{"type": "message", "content": "\\ud800"}',
            '{"type": "approval_response", "request_id": "1", "decision": "approve"}',
            json.dumps({"type": "resume", "turn_id": aim.id(spot)}),
            base64.b64encode(spot.key.encode()).decode(),
            "[]",
        ]
    )


def _client_id(aim: Aim, spot: Spot) -> str:
    """An id that the actor did not use there: a turn that was deleted is waited for, 45 s long."""
    wanted = aim.id(spot)
    if (spot.key, wanted) in aim.said:
        return aim.fresh()
    aim.said.add((spot.key, wanted))
    return wanted


# How often each kind comes; chats take longest.
KINDS: Final[tuple[tuple[Callable[[Aim, Spot], Case], int], ...]] = (
    (rest_tool, 22),
    (mcp_tool, 10),
    (resource, 16),
    (listing, 10),
    (outcome, 8),
    (operators, 5),
    (events, 18),
    (channel, 3),
    (chat, 9),
)


def make_case(aim: Aim) -> tuple[Spot, Case]:
    """The next case, and the key that it aims at."""
    spot = aim.rng.choice(aim.spots)
    makers, weights = zip(*KINDS, strict=True)
    [maker] = aim.rng.choices(makers, weights)
    return spot, maker(aim, spot)


__all__ = ["Aim", "Call", "Case", "Talk", "make_case"]
