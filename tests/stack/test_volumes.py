"""`down -v` with the guard: what is stored stays. Last, because it ends the stack."""

from __future__ import annotations

from tests.stack.stack import Stack, docker


def test_down_v_keeps_what_is_stored(stack: Stack):
    stored = {f"{stack.project}_workspace", f"{stack.project}_redis-data"}
    files = "docker-compose.yml:deploy/keep-volumes.yml"
    worker = stack.containers("worker")[0]
    before = stack.run_in(worker, "turnstream", "sessions", "list", "--all")
    stack.compose("down", "-v", COMPOSE_FILE=files)
    assert stored <= set(docker("volume", "ls", "-q").split())
    stack.up(COMPOSE_FILE=files)
    worker = stack.containers("worker")[0]
    assert stack.run_in(worker, "turnstream", "sessions", "list", "--all") == before
