"""Requests made from /openapi.json: nothing fails within, no answer is outside of the schema."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings, strategies
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from harness.waiting import wait_until
from sessions.stream.redis import connect
from tests.security.system import Installation, running

CASES: Final = 5000
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
KNOWN: Final = "known"
# One event that a worker with smaller bounds could not take, which can be replayed.
# A letter for each that can be done with one: it is gone afterwards.
METHODS: Final = ("get", "post", "delete")
LARGE: Final = {"v": "1", "type": "append", "session": KNOWN, "role": "user"}
SMALL_BOUND: Final = "max_content_bytes = 1000"


@dataclass
class Callers:
    """An administrator's requests and an agent's, and how they were answered."""

    system: Installation
    letters: dict[str, str]
    statuses: Counter[int] = field(default_factory=Counter[int])
    answered: dict[str, Counter[int]] = field(default_factory=dict[str, Counter[int]])
    http: requests.Session = field(default_factory=requests.Session)

    def try_operation(self, operation: Any, who: str, count: int) -> None:
        """So many requests to one operation; raises what schemathesis finds."""
        headers = {"authorization": f"Bearer {self.system.tokens[who]}"}
        name = f"{operation.method.upper()} {operation.path}"

        @settings(
            max_examples=count,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
        )
        @given(case=operation.as_strategy(), aimed=strategies.integers(0, 3))
        def tries(case: Any, aimed: int) -> None:
            if aimed:
                self._aim(case, name)
            response = case.call(base_url=self.system.url, headers=headers, session=self.http)
            self.statuses[response.status_code] += 1
            self.answered.setdefault(name, Counter())[response.status_code] += 1
            case.validate_response(response, checks=CHECKS)

        tries()

    def _aim(self, case: Any, name: str) -> None:
        """Let the request be about something that is there."""
        letter = self.letters.get(case.method.lower(), "none")
        there = {"session_id": KNOWN, "event_id": "first", "letter_id": letter}
        there |= {"type": "cli", "alias": "anna"}
        for parameter in case.path_parameters or {}:
            case.path_parameters[parameter] = there.get(parameter, case.path_parameters[parameter])
        case.query, case.headers = {}, {}
        body = BODIES.get(name)
        if body is not None:
            case.body, case.media_type = body, "application/json"
        if "{name}" in case.path:
            case.body = TOOL_BODIES.get(case.path_parameters["name"], {})
        if "session" in case.path or "tools" in case.path:
            self.keep_known()

    def keep_known(self) -> None:
        """Let anna have the session, if somebody deleted it or gave it away."""
        admin = {"authorization": f"Bearer {self.system.tokens['admin']}"}
        owned = {"type": "owner", "session": KNOWN, "agent": "anna"}
        said = {"type": "append", "session": KNOWN, "role": "user", "content": "x"}
        for event in ({**said, "agent": "anna"}, owned):
            url = f"{self.system.url}/api/events"
            requests.post(url, json=event, headers=admin, timeout=10).raise_for_status()


BODIES: Final[dict[str, Any]] = {
    "POST /api/events": {"type": "append", "session": KNOWN, "role": "user", "content": "hi"},
    "POST /api/sessions/{session_id}/messages": {"content": "hi"},
    "PUT /api/sessions/{session_id}": {"name": "named"},
    "PUT /api/sessions/{session_id}/owner": {"agent": "anna"},
    "POST /api/owners": {"from": "anna", "to": "anna"},
    "POST /api/turns/history": {"session": KNOWN, "agent": "anna", "limit": 5},
    "POST /api/turns/keys": {"former": KNOWN, "channel": "cli.anna", "room": "r", "sender": "s"},
    "POST /channels/{type}/{alias}": {"id": "1", "content": "hi"},
}
TOOL_BODIES: Final[dict[str, Any]] = {
    **{f"sessions_{verb}": {"session_id": KNOWN} for verb in ("history", "reset", "delete")},
    "sessions_send": {"session_id": KNOWN, "message": "hi"},
    "sessions_rename": {"session_id": KNOWN, "name": "x"},
    "sessions_search": {"query": "hi"},
}


async def letter_to_replay(folder: Path) -> None:
    """Leave a dead letter that a worker with other settings can apply."""
    with running(folder, "http://127.0.0.1:9/v1", SMALL_BOUND) as system:
        argv = [sys.executable, "-m", "cli", "--config", str(folder / "config.toml"), "redis-url"]
        url = (await asyncio.to_thread(subprocess.check_output, argv)).decode().strip()
        async with aclosing(connect(url)) as redis:
            for method in METHODS:
                event = {**LARGE, "id": method, "content": "x" * 2000}
                await redis.execute_command("XADD", "turnstream:turns", "*", *_flat(event))
        headers = {"authorization": f"Bearer {system.tokens['admin']}"}
        async with httpx.AsyncClient(base_url=system.url, headers=headers) as http:

            async def is_there() -> bool:
                letters = (await http.get("/api/dead-letters")).json()
                return len(letters.get("dead_letters", ())) == len(METHODS)

            await wait_until(is_there)


def _flat(fields: dict[str, str]) -> list[str]:
    return [part for pair in fields.items() for part in pair]


@pytest.mark.security
@pytest.mark.timeout(600)
async def test_every_answer_is_as_described(tmp_path: Path, request: pytest.FixtureRequest):
    await letter_to_replay(tmp_path)
    with running(tmp_path, "http://127.0.0.1:9/v1") as system:
        callers = await asyncio.to_thread(_try_all, system)
    request.node.user_properties.append(("attack", f"schemathesis: {dict(callers.statuses)}"))
    good = sum(n for status, n in callers.statuses.items() if status < 300)
    assert callers.statuses.total() >= CASES
    assert good >= 0.2 * callers.statuses.total()
    never = [n for n, seen in callers.answered.items() if not any(s < 300 for s in seen)]
    assert never == []


def _try_all(system: Installation) -> Callers:
    admin = {"authorization": f"Bearer {system.tokens['admin']}"}
    schema = schemathesis.openapi.from_url(f"{system.url}/openapi.json", headers=admin)
    letters = requests.get(f"{system.url}/api/dead-letters", headers=admin, timeout=10).json()
    callers = Callers(system, {one["event_id"]: one["id"] for one in letters["dead_letters"]})
    callers.keep_known()
    first = {"type": "append", "id": "first", "session": KNOWN, "role": "user", "content": "x"}
    requests.post(f"{system.url}/api/events", json=first, headers=admin, timeout=10)
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    # The letter can be replayed once, so that is tried before it is read and purged.
    operations.sort(key=lambda o: ("letter" not in o.path, o.method != "post", o.method))
    # Some operations have fewer different requests than that.
    share = -(-CASES * 5 // (8 * len(operations)))
    for operation in operations:
        for who in ("admin", "anna"):
            callers.try_operation(operation, who, share)
    return callers
