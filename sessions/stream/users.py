"""What each service may do in Redis: the rules of its user, as ACL SETUSER and ACL files take them.

docs/operating.md shows the same lists, and tests run whole systems under them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# Whose users there are, in the order of the docs.
SERVICES: Final = ("worker", "api", "ingest")

_KEYS: Final = {
    # A script that only reads must be permitted to write to the key that it names, here the last.
    "worker": "turns store standbys arq arq:* reply_state",
    "api": "turns store lane* queue:* sent:* replies:* reply_*",
    "ingest": "turns store lane* queue:* sent:* replies:* reply_* poller:*",
}
# What `turnstream status` reads beside that where a service runs.
_KEYS_TO_READ: Final = {
    "worker": "replies:* reply_*",
    "api": "standbys",
    "ingest": "",
}
# Names of arq's own, without the prefix.
_OTHER_KEYS: Final = {
    "worker": "arq:job:* arq:retry:* arq:in-progress:* arq:result:* arq:abort",
    "api": "",
    "ingest": "",
}
_CHANNELS: Final = {
    "worker": "",
    "api": "lane_hints notices",
    "ingest": "lane_hints notices",
}
_COMMANDS: Final = {
    "worker": (
        "ping info dbsize multi exec watch unwatch evalsha script|load exists del "
        "xread xrange xtrim xinfo|stream memory|usage hget hset hsetnx hgetall "
        "get set psetex incrby expire pexpire zadd zcard zrem zscore zrangebyscore "
        "hlen smembers"
    ),
    "api": (
        "ping multi exec evalsha script|load exists del get set expire time publish "
        "info xadd xread xrange xinfo|stream memory|usage "
        "hget hmget hset hgetall hexists hdel hincrby hlen "
        "lindex llen lrange lrem rpush sadd srem smembers sunion "
        "zadd zcard zrem zrangebyscore"
    ),
    "ingest": (
        "ping multi exec evalsha script|load exists del get set incr publish subscribe "
        "expire pexpire persist time "
        "xadd xrange xinfo|stream "
        "hget hmget hgetall hset hsetnx hdel hexists hincrby "
        "lindex llen lrange lpop rpush lrem sadd srem smembers sunion "
        "zadd zcard zrange zrem"
    ),
}


def user_of(service: str) -> str:
    """The name of the service's user."""
    return f"turnstream-{service}"


def rules_of(service: str, prefix: str) -> list[str]:
    """The rules of the service's user, without its password; nothing but them is permitted."""
    return [
        "resetkeys",
        "resetchannels",
        "-@all",
        *(f"~{prefix}{key}" for key in _KEYS[service].split()),
        *(f"%R~{prefix}{key}" for key in _KEYS_TO_READ[service].split()),
        *(f"~{key}" for key in _OTHER_KEYS[service].split()),
        *(f"&{prefix}{channel}" for channel in _CHANNELS[service].split()),
        *(f"+{command}" for command in _COMMANDS[service].split()),
    ]


def acl_file(hashes: Mapping[str, str], prefix: str, *, more: Mapping[str, str]) -> str:
    """An ACL file with the services' users, and without the default one.

    `hashes` are the SHA-256 digests of the passwords, by the user's name. `more` are users with
    rules of their own.
    """
    rules = {user_of(service): " ".join(rules_of(service, prefix)) for service in SERVICES}
    # Nobody can be the default user, but Redis replays its append-only file in its name: without
    # rights, the transactions in there would be refused, and lost.
    lines = ["user default off resetpass ~* &* +@all"]
    for user, allowed in {**rules, **more}.items():
        lines.append(f"user {user} on resetpass #{hashes[user]} {allowed}")
    return "\n".join(lines) + "\n"


__all__ = ["SERVICES", "acl_file", "rules_of", "user_of"]
