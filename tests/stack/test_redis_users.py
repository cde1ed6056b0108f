"""Each Redis user may run its own commands on its own keys: every other one is refused."""

from __future__ import annotations

import json
from typing import Final

import pytest

from harness.waiting import wait_until_sync
from sessions.stream.users import rules_of
from tests.stack.stack import Stack

# Says all commands with as many arguments as they take. Nobody is refused these four: they only
# say who is there, or end the connection.
_TRY_ALL: Final = r"""
import json, sys
from urllib.parse import urlsplit
from redis import Redis
from redis.exceptions import RedisError

url, commands = open(sys.argv[1]).read(), json.loads(sys.argv[2])
answers = {}
for name, arity in commands.items():
    words = name.split("|") + ["x"] * (abs(arity) - len(name.split("|")))
    # A connection for each: some commands change what the next ones mean.
    client = Redis.from_url(url, socket_timeout=5)
    try:
        answers[name] = repr(client.execute_command(*words))
    except RedisError as error:
        answers[name] = str(error)
    # The library reads an answer to a command without its arguments in many ways, and fails as
    # differently; that it came through is what counts, and the answer says so.
    except Exception as error:
        answers[name] = f"an answer that is none of this command's: {error!r}"
    client.close()
print(json.dumps(answers))
"""
_OF_NOBODY: Final = frozenset({"auth", "hello", "quit", "reset"})
# The second is of commands that Redis' settings permit to nobody.
_REFUSALS: Final = ("no permissions to run", "command not allowed")
_LIST: Final = """
redis-server --port 7777 --save '' --daemonize yes >/dev/null
until redis-cli -p 7777 ping >/dev/null 2>&1; do sleep 0.1; done
redis-cli -p 7777 --json command
"""


def _commands(stack: Stack) -> dict[str, int]:
    """All commands of this Redis and how many words they take, those within others too."""
    [redis] = stack.containers("redis")
    found = json.loads(stack.run_in(redis, "sh", "-c", f"cd /tmp; {_LIST}"))
    stack.run_in(redis, "sh", "-c", "redis-cli -p 7777 shutdown nosave; true")
    commands: dict[str, int] = {}
    for name, arity, *_, within in found:
        inner = {one[0]: one[1] for one in within}
        commands |= inner or {name: arity}
    return {name: arity for name, arity in commands.items() if name not in _OF_NOBODY}


@pytest.mark.parametrize("service", ["worker", "api", "ingest"])
def test_every_other_command_and_key_is_refused(stack: Stack, service: str):
    commands = _commands(stack)
    assert len(commands) > 300
    name = stack.containers(service)[0]
    url = f"/secrets/{service}/redis_url"
    python = "/opt/turnstream/bin/python"
    answers = json.loads(stack.run_in(name, python, "-c", _TRY_ALL, url, json.dumps(commands)))
    permitted = {rule[1:] for rule in rules_of(service, "turnstream:") if rule.startswith("+")}
    for command, answer in answers.items():
        parent = command.partition("|")[0]
        if not {command, parent} & permitted:
            assert any(text in answer for text in _REFUSALS), f"{command}: {answer}"
    for command in ("get", "hgetall", "xrange"):
        if command in permitted:
            assert "access" in answers[command], f"{command}: {answers[command]}"


def test_redis_reads_its_file_without_refusing_anything(stack: Stack):
    """It does so in the name of the default user, which is switched off."""
    [redis] = stack.containers("redis")
    stack.kill(redis)
    wait_until_sync(lambda: stack.health(redis) == "healthy", "redis is back", within=90)
    [lines] = stack.logs("redis").values()
    assert any("DB loaded from append only file" in line for line in lines)
    assert not [line for line in lines if "CRITICAL" in line or "NOPERM" in line]


def test_nobody_comes_in_without_a_user(stack: Stack):
    [redis] = stack.containers("redis")
    assert "NOAUTH" in stack.run_in(redis, "redis-cli", "keys", "*")
    assert "WRONGPASS" in stack.run_in(redis, "sh", "-c", "redis-cli auth default '' 2>&1; true")
