"""Brings in what ZeroClaw has left in the workspace, before anything is consumed.

Every source is brought in once: its receipt tells that it has not changed since. If ZeroClaw was
used again in between, what is new comes in at the next start.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

from sessions.process.progress import ProgressReporter
from sessions.process.retry import Reminder
from sessions.store.backend import SessionBackend, Transferable
from sessions.transfer.report import SourceReport
from sessions.transfer.restoring import TransferableBackend
from sessions.transfer.zeroclaw_import import ZeroClawImport
from sessions.zeroclaw.finding import sources_in

log = logging.getLogger(__name__)

# Seconds between two lines about how far it is.
_EVERY: Final = 5.0
# Reasons that are named in the log; the file of what was set aside has all.
_NAMED: Final = 5


class MovingIn:
    """What a leading worker does about a ZeroClaw workspace in the place of its own."""

    def __init__(
        self, backend: SessionBackend, workspace: Path, *, progress: ProgressReporter
    ) -> None:
        self._backend = backend
        self._workspace = workspace
        self._progress = progress
        self._told = Reminder(_EVERY)
        self._looked_at = 0

    async def run(self) -> None:
        """Bring in what is there and has changed; does nothing if there is nothing.

        Raises ConfigError if a source cannot be read, and a Retryable if it changes meanwhile.
        """
        if not isinstance(self._backend, Transferable):
            return
        backend = cast("TransferableBackend", self._backend)
        # Beside the store: in a container a temporary directory may be memory.
        with tempfile.TemporaryDirectory(prefix=".import-", dir=self._workspace) as scratch:
            importing = ZeroClawImport(backend, self._workspace, advance=self._advance)
            for source in sources_in(self._workspace, Path(scratch)):
                _log(await importing.run(source))

    def _advance(self, number: int) -> None:
        self._looked_at += number
        self._progress.beat()
        if self._told.due():
            log.info("moving in from ZeroClaw: %d messages looked at so far", self._looked_at)


def _log(report: SourceReport) -> None:
    if report.unchanged:
        return
    log.info(
        "moved in from ZeroClaw, %s: %d sessions, %d messages, %d known before, %d set aside",
        *(report.source, report.sessions, report.messages, report.known, report.aside),
    )
    if report.reasons:
        log.warning("set aside of %s: %s", report.source, _reasons(report))


def _reasons(report: SourceReport) -> str:
    by_count: Sequence[tuple[str, int]] = sorted(report.reasons.items(), key=lambda one: -one[1])
    named = "; ".join(f"{count} ({reason})" for reason, count in by_count[:_NAMED])
    return named if report.kept_in is None else f"{named}; kept in {report.kept_in}"
