"""Ten bugs that systems like this one had, put into the real worker to show that the checker sees.

Each is a subclass of the class that does it right, and takes its place in one worker process;
the services themselves have no switch for any of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from proof.checker import Fault
from proof.mutants import files, store, stream
from proof.nemesis import POWER_CUTS, Schedule
from proof.proxy import ProxyFault

# Some of these bugs leave a worker that cannot start any more.
_PATIENCE: Final = 20.0
_RETRIES: Final = Schedule(
    {f"{ProxyFault.CUT_AFTER} (publisher)": 1, "kill leader": 1}, patience=_PATIENCE
)
_KILLS: Final = Schedule({"kill leader": 3, "kill both workers": 1}, overlap=2, patience=_PATIENCE)
_COMA: Final = Schedule({"coma and after": 1}, overlap=1, patience=_PATIENCE)
_POWER: Final = replace(POWER_CUTS, patience=_PATIENCE)


@dataclass(frozen=True)
class Mutant:
    """A bug: what it does, where, what the checker must find, and what brings that to light."""

    about: str
    activate: Callable[[], None]
    fault: Fault
    schedule: Schedule = _KILLS
    backend: str = "sqlite"
    seconds: float = 6.0


MUTANTS: Final[dict[str, Mutant]] = {
    "ack-before-commit": Mutant(
        "entries are removed from the stream before their transaction",
        stream.ack_before_commit,
        Fault.LOST,
    ),
    "trim-by-length": Mutant(
        "the stream is trimmed to a length, not behind the cursor",
        stream.trim_by_length,
        Fault.LOST,
    ),
    "dedupe-by-place": Mutant(
        "an entry counts as new when its stream id is",
        store.dedupe_by_place,
        Fault.DUPLICATED,
        _RETRIES,
    ),
    "content-rollback": Mutant(
        "a rollback removes the last message of the same text",
        store.content_rollback,
        Fault.RESURRECTED,
    ),
    "no-fence": Mutant(
        "a leader that lost its lease goes on writing",
        store.no_fence,
        # The second writer counts the later entries of an id a second time.
        Fault.COUNT,
        _COMA,
        seconds=10.0,
    ),
    "or-ignore": Mutant(
        "what cannot be inserted is ignored", store.or_ignore, Fault.LETTERS, _RETRIES
    ),
    "dedupe-lost-at-delete": Mutant(
        "a delete forgets the ids of the session", store.dedupe_lost_at_delete, Fault.LOST
    ),
    "whole-batch-poison": Mutant(
        "one bad entry condemns its batch", store.whole_batch_poison, Fault.LETTERS
    ),
    "torn-tail-kept": Mutant(
        "lines are appended behind what a crash left over",
        files.torn_tail_kept,
        Fault.DAMAGE,
        backend="jsonl",
        # A kill has to come between a sync and its commit, and a busy machine has few of them.
        seconds=20.0,
    ),
    "index-before-sync": Mutant(
        "the index commits before the file is synced",
        files.index_before_sync,
        Fault.DAMAGE,
        _POWER,
        backend="jsonl",
    ),
}
