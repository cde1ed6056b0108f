"""What a child of the fork server can be. Everything that takes long to import is imported here."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

import cli.supervision.web
import worker.__main__
from proof import publisher, volatile
from proof.mutants import MUTANTS
from sessions.process.config.loading import load_settings

# Variables of the fork server's own: a bug to put in, and the folder of a disk that forgets.
MUTANT_VARIABLE: Final = "PROOF_MUTANT"
DISK_VARIABLE: Final = "PROOF_DISK"


def _worker() -> int:
    """`python -m worker`, after what a run puts into it."""
    if mutant := os.environ.get(MUTANT_VARIABLE):
        MUTANTS[mutant].activate()
    if disk := os.environ.get(DISK_VARIABLE):
        workspace = load_settings(None, os.environ).workspace
        volatile.power_on(Path(disk), workspace / "sessions")
        volatile.watch(Path(disk))
    return worker.__main__.main()


def _web() -> int:
    return cli.supervision.web.main(os.environ)


def _program() -> NoReturn:
    """Become another program: the arguments are its command line."""
    os.execv(sys.argv[1], sys.argv[1:])


ROLES: Final[dict[str, Callable[[], int]]] = {
    "worker": _worker,
    "web": _web,
    "publisher": publisher.main,
    "program": _program,
}
