"""`python -m proof.storm` (or `make storm`): three replicas of ingest, and messages from all sides.

200 sessions with 20 messages each, by WebSocket, by signed webhook, by Slack's Socket Mode and by
Discord's gateway, sent to replicas by chance and again where they are refused, and two agents that
wake each other's sessions. Meanwhile one replica is killed, another frozen and woken, Redis is away
for a while, and so are the platforms, so that replies are parked; another replica is killed while
they are sent. Exit code 1 where a promise was broken; store and logs are then kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from proof.storm.run import Plan, run

# Seconds that the agent takes at most: with half of it, a full lane is worked off within the
# 30 s that a message waits, and the messages last for all that happens meanwhile.
_LONGEST_ANSWER: Final = 6.0


def main(arguments: Sequence[str]) -> int:
    """Run a storm, print its figures, and give the exit code."""
    given = _parse(arguments)
    console = Console(stderr=given.json)
    folder = Path(tempfile.mkdtemp(prefix="turnstream-storm-"))
    console.print(f"seed {given.seed}, in {folder}", highlight=False)
    plan = Plan(
        folder,
        given.seed,
        sessions=given.sessions,
        messages=given.messages,
        longest_answer=_LONGEST_ANSWER,
        limit=given.minutes * 60,
    )
    report = asyncio.run(run(plan))
    if given.json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        report.show(console)
    if report.clean:
        shutil.rmtree(folder)
        return 0
    words = f"--seed {given.seed} --sessions {given.sessions} --messages {given.messages}"
    console.print(f"repeated by: make storm ARGS='{words}'; store and logs: {folder}")
    return 1


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m proof.storm", description=__doc__)
    parser.add_argument("--seed", default=secrets.token_hex(3), help="repeats what a run does")
    parser.add_argument("--sessions", type=int, default=200, help="conversations [200]")
    parser.add_argument("--messages", type=int, default=20, help="of each of them [20]")
    parser.add_argument("--minutes", type=float, default=6.0, help="given up after [6]")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
