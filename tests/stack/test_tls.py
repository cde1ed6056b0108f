"""HTTPS by two settings, and behind the proxies of the snippets."""

from __future__ import annotations

import json
import ssl
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest
from websockets.asyncio.client import connect

from harness.services import free_port
from harness.waiting import wait_until_sync
from tests.docs.pages import ROOT
from tests.stack.stack import Stack, certificate, docker

NAME: Final = "chat.example.org"
_CADDY: Final = """
FROM {base}
USER root
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends caddy
"""


def client(stack: Stack, cert: Path, port: int) -> httpx.Client:
    """A client that trusts the certificate, and calls this machine by its name."""
    trust = ssl.create_default_context(cafile=str(cert))
    headers = {"Host": NAME, "Authorization": f"Bearer {stack.token()}"}
    url = f"https://127.0.0.1:{port}"
    return httpx.Client(base_url=url, headers=headers, verify=trust, trust_env=False, timeout=30)


async def check(stack: Stack, cert: Path, port: int) -> None:
    """Pages, events and a chat."""
    named = {"sni_hostname": NAME}
    event = {"type": "append", "session": uuid.uuid4().hex, "role": "user", "content": "hello"}
    with client(stack, cert, port) as https:
        wait_until_sync(lambda: _answers(https, named), "it answers", within=30)
        posted = https.post("/api/events", json=event, extensions=named)
        assert posted.status_code == 202, posted.text
        headers = {"Authorization": https.headers["authorization"]}
    url = f"wss://{NAME}:{port}/ws/chat?agent=main&session_id={uuid.uuid4().hex}"
    trust = ssl.create_default_context(cafile=str(cert))
    there = {"host": "127.0.0.1", "port": port, "ssl": trust, "proxy": None}
    async with connect(url, additional_headers=headers, **there) as chat:
        await chat.send(json.dumps({"type": "message", "content": "hello"}))
        while (frame := json.loads(await chat.recv()))["type"] != "done":
            assert frame["type"] != "error", frame


def _answers(https: httpx.Client, named: dict[str, str]) -> bool:
    try:
        return https.get("/readyz", extensions=named).is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def named(stack: Stack) -> Stack:
    """The stack under a name, with its own proxies trusted."""
    more = {"TURNSTREAM_ALLOWED_HOSTS": NAME, "TURNSTREAM_TRUSTED_PROXIES": "172.16.0.0/12"}
    stack.settings |= more
    stack.up()
    return stack


async def test_two_settings_are_enough(named: Stack, tmp_path: Path):
    cert, key = certificate(tmp_path, NAME)
    named.up(TURNSTREAM_TLS_CERT=str(cert), TURNSTREAM_TLS_KEY=str(key))
    try:
        await check(named, cert, named.port)
    finally:
        named.up()


def test_one_of_the_two_settings_is_a_sentence(named: Stack, tmp_path: Path):
    cert, _ = certificate(tmp_path, NAME)
    with pytest.raises(AssertionError):
        named.compose("run", "--rm", "--no-deps", "-T", "proxy", TURNSTREAM_TLS_CERT=str(cert))
    with pytest.raises(AssertionError, match="TURNSTREAM_TLS_KEY"):
        named.compose("run", "--rm", "--no-deps", "-T", "proxy", TURNSTREAM_TLS_CERT=str(cert))


@contextmanager
def own_proxy(image: str, command: list[str], mounts: dict[Path, str]) -> Iterator[None]:
    """A proxy of the operator's on this machine, beside the stack."""
    name = f"turnstream-test-{uuid.uuid4().hex[:8]}"
    volumes = [part for here, there in mounts.items() for part in ("-v", f"{here}:{there}:ro")]
    own = ["run", "-d", "--name", name, "--network=host", "--user=0", *volumes]
    docker(*own, f"--entrypoint={command[0]}", image, *command[1:])
    try:
        yield
    finally:
        docker("rm", "--force", name)


def snippet(name: str, folder: Path, port: int, stack: Stack, **texts: str) -> Path:
    """The file, with a port of this test for 443 and the stack's for 8787."""
    text = (ROOT / "deploy/snippets" / name).read_text()
    for old, new in {"127.0.0.1:8787": f"127.0.0.1:{stack.port}", **texts}.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / name
    path.write_text(text)
    return path


async def test_behind_an_nginx_with_the_snippet(named: Stack, tmp_path: Path):
    cert, key = certificate(tmp_path, NAME)
    port = free_port()
    part = snippet("nginx.conf", tmp_path, port, named, **{"listen 443 ": f"listen {port} "})
    whole = tmp_path / "whole.conf"
    whole.write_text("daemon off; events {} http { include /etc/nginx/turnstream.conf; }")
    mounts = {part: "/etc/nginx/turnstream.conf", whole: "/whole.conf"}
    tls = {cert: "/etc/nginx/tls/cert.pem", key: "/etc/nginx/tls/key.pem"}
    with own_proxy(f"{named.project}-proxy", ["nginx", "-c", "/whole.conf"], {**mounts, **tls}):
        await check(named, cert, port)


async def test_behind_a_caddy_with_the_snippet(named: Stack, tmp_path: Path):
    image = f"{named.project}-caddy"
    (tmp_path / "image").mkdir()
    (tmp_path / "image/Dockerfile").write_text(_CADDY.format(base=f"{named.project}-proxy"))
    docker("build", "-q", "-t", image, str(tmp_path / "image"))
    cert, key = certificate(tmp_path, NAME)
    port = free_port()
    part = snippet("Caddyfile", tmp_path, port, named, **{f"{NAME} {{": f"{NAME}:{port} {{"})
    part.write_text(f"{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{part.read_text()}")
    tls = {cert: "/etc/caddy/tls/cert.pem", key: "/etc/caddy/tls/key.pem"}
    command = ["caddy", "run", "--adapter", "caddyfile", "--config", "/Caddyfile"]
    try:
        with own_proxy(image, command, {part: "/Caddyfile", **tls}):
            await check(named, cert, port)
    finally:
        docker("rmi", "--force", image)
