"""The compose file as it is, under a project of its own, on a port of its own."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.docs.pages import ROOT

# Below the range from which the kernel takes ports for sockets.
_PORTS: Final = range(20_000, 32_768)
# Seconds for a first start, with both images to be built on a busy machine.
_START: Final = 600.0
COUNTS: Final = {"TURNSTREAM_INGESTS": "3", "TURNSTREAM_APIS": "2", "TURNSTREAM_WORKERS": "2"}
# Everything that makes secrets has a line of these in the workers' container.
SECRET_FILES: Final = (
    *("/data/token", "/secrets/ingest/token", "/secrets/redis/password"),
    *(f"/secrets/{service}/redis_url" for service in ("worker", "api", "ingest")),
)


class NoEngine(AssertionError):
    """No Docker engine answers, or it has no Compose."""


class Stack:
    """A stack that runs. Each command raises CalledProcessError with what it said."""

    def __init__(self, project: str, port: int) -> None:
        self.project = project
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.settings: dict[str, str] = {**COUNTS, "TURNSTREAM_PUBLISH": f"127.0.0.1:{port}"}

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Stack]:
        """One that is healthy. Nothing of it stays behind, its images neither."""
        _check_engine()
        stack = cls(f"turnstream-test-{os.getpid()}", _free_port())
        try:
            stack.up()
            yield stack
        finally:
            stack.compose("down", "--volumes", "--timeout", "5")
            docker("rmi", "--force", stack.project, f"{stack.project}-proxy")

    def compose(self, *arguments: str, given: str | None = None, **settings: str) -> str:
        """`docker compose` as an operator runs it, with these settings; what it prints.

        `given` is its standard input.
        """
        named = {"COMPOSE_PROJECT_NAME": self.project}
        environ = {**os.environ, **named, **self.settings, **settings}
        return _run(["docker", "compose", *arguments], environ, given)

    @contextmanager
    def another(self) -> Iterator[Stack]:
        """Another project of the same images, of which nothing runs yet."""
        other = Stack(f"{self.project}-other", _free_port())
        for name in ("", "-proxy"):
            docker("tag", f"{self.project}{name}", f"{other.project}{name}")
        try:
            yield other
        finally:
            other.compose("down", "--volumes", "--timeout", "5")
            docker("rmi", "--force", other.project, f"{other.project}-proxy")

    def up(self, **settings: str) -> str:
        """The documented command."""
        return self.compose("up", "-d", "--wait", **settings)

    def containers(self, service: str | None = None) -> list[str]:
        """The names of the containers, of one service or of all."""
        label = "com.docker.compose"
        filters = [f"label={label}.project={self.project}"]
        filters += [f"label={label}.service={service}"] if service else []
        told = [part for one in filters for part in ("--filter", one)]
        return sorted(docker("ps", "--format", "{{.Names}}", *told).split())

    def inspect(self, name: str) -> dict[str, Any]:
        """What Docker knows of a container."""
        return json.loads(docker("inspect", name))[0]

    def started(self) -> Mapping[str, str]:
        """Each container that runs, and since when."""
        return {name: self.inspect(name)["State"]["StartedAt"] for name in self.containers()}

    def health(self, name: str) -> str:
        """`healthy`, `unhealthy` or `starting`."""
        return self.inspect(name)["State"]["Health"]["Status"]

    def logs(self, *services: str) -> dict[str, list[str]]:
        """The lines that each container has logged."""
        told = self.compose("logs", "--no-color", *services).splitlines()
        found: dict[str, list[str]] = {}
        for line in told:
            name, _, text = line.partition("|")
            found.setdefault(name.strip(), []).append(text.strip())
        return found

    def run_in(self, name: str, *command: str) -> str:
        """Run a command in a container; what it prints."""
        return docker("exec", name, *command)

    def token(self) -> str:
        """The administrator's token, as the docs say how to get it."""
        return self.compose("exec", "-T", "worker", "cat", "/data/token").strip()

    def secrets(self) -> list[str]:
        """Every secret of the stack: tokens, and the passwords of Redis' users."""
        worker = self.containers("worker")[0]
        texts = [self.run_in(worker, "cat", file).strip() for file in SECRET_FILES]
        return [text.rpartition("@")[0].rpartition(":")[2] or text for text in texts]

    def kill(self, name: str) -> None:
        """End a container's processes as a crash does; `docker kill` would count as a stop."""
        # The first process of a container is its init; what it started dies with it.
        os.kill(self.inspect(name)["State"]["Pid"], signal.SIGKILL)

    @contextmanager
    def cut_off(self, name: str, network: str) -> Iterator[None]:
        """Pull the container's cable to a network of the stack, and plug it in again after."""
        whole = f"{self.project}_{network}"
        aliases = self.inspect(name)["NetworkSettings"]["Networks"][whole]["Aliases"]
        docker("network", "disconnect", whole, name)
        try:
            yield
        finally:
            named = [part for alias in aliases for part in ("--alias", alias)]
            docker("network", "connect", *named, whole, name)


def docker(*arguments: str) -> str:
    """A command of Docker's; what it prints."""
    return _run(["docker", *arguments], os.environ)


def _run(command: list[str], environ: Mapping[str, str], given: str | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environ,
        input=given,
        capture_output=True,
        text=True,
        timeout=_START,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _check_engine() -> None:
    try:
        for command in (("version",), ("compose", "version")):
            docker(*command)
    except (OSError, AssertionError) as error:
        raise NoEngine(
            "make test-stack needs a Docker engine with Compose v2, and `docker compose version` "
            f"or `docker version` does not work here: {error}"
        ) from None


def _free_port() -> int:
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as found:
            try:
                found.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for that name and its key, which user 10001 may read."""
    folder.chmod(0o755)
    cert, key = folder / "cert.pem", folder / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    named = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    _run([*made, *named, "-keyout", str(key), "-out", str(cert)], os.environ)
    key.chmod(0o644)
    return cert, key
