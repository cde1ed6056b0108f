"""The services as operators start them: their variables and their command lines."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
# Variables, beside ours, that would lead to a system of somebody else.
_FOREIGN: Final = ("REDIS_URL", "XDG_RUNTIME_DIR")


def environment(**variables: str) -> dict[str, str]:
    """This process's variables without what leads to a system outside, and these."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TURNSTREAM_") and name not in _FOREIGN
    }
    return {**kept, "PYTHONPATH": str(ROOT), "HOME": "/nonexistent", **variables}


def variables_of(workspace: Path, redis_url: str, **settings: str) -> dict[str, str]:
    """Settings as variables, by their names in lower case."""
    all_settings = {"workspace": str(workspace), "redis_url": redis_url, **settings}
    return {f"TURNSTREAM_{name.upper()}": value for name, value in all_settings.items()}


def module_argv(module: str, *options: str) -> tuple[str, ...]:
    """The command line of a service (or of `cli`) with these options."""
    return (sys.executable, "-m", module, *options)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]
