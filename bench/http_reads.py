"""How many reads a second the api answers, next to a bare FastAPI route that runs the same query.

Three figures in one run, in turn: the bare route, the api with
`?consistency=any`, and the api as it is by default, which waits until the store is as far as the
stream. The answers' bytes are compared before anything is counted.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from bench import corpus
from bench.drain import MAXMEMORY, publish, reached
from harness.system import SystemUnderTest
from harness.waiting import wait_until
from sessions.access.tokens import ensure_admin_token

CONNECTIONS: Final = (1, 8, 64)
_SESSIONS: Final = 3_500
# Sessions that requests ask for in turn, out of all of them.
_ASKED: Final = 512
# Seconds that filling the store may take at most.
_FILLING: Final = 300.0
# Seconds of one slice, and slices of each of the three; the medians are reported.
_SLICE: Final = 0.5
_ROUNDS: Final = 3
# Answers of each kind that are compared.
_COMPARED: Final = 20
_RARE: Final = "xylophone"
# The session whose only message has the rare word.
_RARE_TURN: Final = corpus.CorpusTurn("bench_rare", "user", f"who has seen my {_RARE}")


@dataclass(frozen=True)
class ReadRequest:
    """One kind of read: its paths, or its path and the bodies that are posted there."""

    what: str
    paths: Sequence[str]
    bodies: Sequence[Mapping[str, Any]] = ()

    def requests(self, host: str, *, query: str = "", token: str = "") -> list[str]:
        """The requests as they go over the wire; `query` is added to each path."""
        headers = f"Host: {host}\r\nAuthorization: Bearer {token}\r\n"
        return [*self._posts(headers, query)] or [*self._gets(headers, query)]

    def _gets(self, headers: str, query: str) -> Iterator[str]:
        for path in self.paths:
            mark = "&" if "?" in path else "?"
            yield f"GET {path}{mark}{query} HTTP/1.1\r\n{headers}\r\n"

    def _posts(self, headers: str, query: str) -> Iterator[str]:
        for body in map(json.dumps, self.bodies):
            length = f"Content-Length: {len(body)}\r\n"
            yield f"POST {self.paths[0]}?{query} HTTP/1.1\r\n{headers}{length}\r\n{body}"


@dataclass(frozen=True)
class ReadRate:
    """Requests a second for one kind of read and so many connections.

    `present` is with `?consistency=any`, `fresh` the default. The ratios are to the bare route, the
    medians of those of each round: a machine drifts.
    """

    what: str
    connections: int
    bare: float
    present: float
    fresh: float
    present_ratio: float
    fresh_ratio: float


async def measure(folder: Path) -> list[ReadRate]:
    """Fill a store through a worker, start both servers, compare their answers, and count."""
    turns = [*corpus.interleaved(corpus.made(_SESSIONS)), _RARE_TURN]
    async with SystemUnderTest.running(folder, maxmemory=MAXMEMORY) as system:
        system.forks = False
        token = ensure_admin_token(system.workspace)
        await system.worker()
        await publish(turns, system.stream)
        store = await system.store()
        await wait_until(lambda: reached(store, len(turns)), within=_FILLING)
        keys = [page.key for page in (await store.sessions(limit=_ASKED)).items]
        questions = _questions(keys)
        api, _ = await system.serving("api")
        async with _bare(system.workspace / "sessions" / "turnstream.db") as bare:
            for question in questions:
                await _compare(question, api, bare, token)
            return [
                await _rate(question, connections, api, bare, token)
                for question in questions
                for connections in CONNECTIONS
            ]


def _questions(keys: Sequence[str]) -> list[ReadRequest]:
    asked = [{"session_id": key, "limit": 20} for key in keys]
    return [
        ReadRequest("list (50)", ["/api/sessions?limit=50"]),
        ReadRequest("list (50), tool", ["/api/tools/sessions_list"], [{"limit": 50}]),
        ReadRequest("history (20)", [f"/api/sessions/{key}/messages?limit=20" for key in keys]),
        ReadRequest("history (20), tool", ["/api/tools/sessions_history"], asked),
        ReadRequest("one session", [f"/api/sessions/{key}/state" for key in keys]),
        ReadRequest("rare word, tool", ["/api/tools/sessions_search"], [{"query": _RARE}]),
    ]


async def _rate(
    question: ReadRequest, connections: int, api: str, bare: str, token: str
) -> ReadRate:
    host = urlsplit(api).netloc
    asked = {
        "bare": (bare, question.requests(urlsplit(bare).netloc)),
        "present": (api, question.requests(host, query="consistency=any", token=token)),
        "fresh": (api, question.requests(host, token=token)),
    }
    found: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(_ROUNDS):
        for name, (url, requests) in asked.items():
            found[name].append(await _load(url, requests, connections))
    ratios = {
        f"{name}_ratio": median(a / b for a, b in zip(found[name], found["bare"], strict=True))
        for name in ("present", "fresh")
    }
    rates = {name: median(each) for name, each in found.items()}
    return ReadRate(
        question.what,
        connections,
        bare=rates["bare"],
        present=rates["present"],
        fresh=rates["fresh"],
        present_ratio=ratios["present_ratio"],
        fresh_ratio=ratios["fresh_ratio"],
    )


async def _load(url: str, requests: Sequence[str], connections: int) -> float:
    """Requests a second, told by a process of its own."""
    address = urlsplit(url)
    task = {
        "host": address.hostname,
        "port": address.port,
        "connections": connections,
        "seconds": _SLICE,
        "requests": requests,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.load"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    told, _ = await process.communicate(json.dumps(task).encode())
    return float(told)


async def _compare(question: ReadRequest, api: str, bare: str, token: str) -> None:
    """Raise where the two do not answer the same bytes."""
    async with httpx.AsyncClient(trust_env=False) as http:
        for number in range(_COMPARED):
            answers = [await _ask(http, url, question, number, token) for url in (api, bare)]
            if answers[0] != answers[1]:
                raise RuntimeError(f"{question.what}: the answers differ: {answers}")


async def _ask(
    http: httpx.AsyncClient, url: str, question: ReadRequest, number: int, token: str
) -> bytes:
    address = url + question.paths[number % len(question.paths)]
    headers = {"authorization": f"Bearer {token}"}
    if question.bodies:
        body = question.bodies[number % len(question.bodies)]
        answer = await http.post(address, json=body, headers=headers)
    else:
        answer = await http.get(address, headers=headers)
    return answer.raise_for_status().content


@asynccontextmanager
async def _bare(database: Path) -> AsyncGenerator[str]:
    """The bare server on a free port, once it answers; and its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.bare", str(database), str(port)), stderr=subprocess.DEVNULL
    )
    try:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            await wait_until(lambda: _answers(http))
        yield url
    finally:
        process.terminate()
        await process.wait()


async def _answers(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/openapi.json")).is_success
    except httpx.HTTPError:
        return False
