"""`python -m proof.job JSON`: one run in a process of its own; prints its report as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from harness.waiting import Stuck
from proof.accidents import run_accident
from proof.mutants import MUTANTS
from proof.nemesis import EVERYTHING, POWER_CUTS
from proof.refused_turns import run_refusals
from proof.report import RunReport
from proof.scenario import chaos
from proof.stack import StackSetup

# Seconds that a run may take beyond the time for which it injects.
_OVERTIME: Final = 180.0
# Events a second where a run is short and much must happen.
_BUSY: Final = 300.0


class JobKind(StrEnum):
    """What a run is about."""

    CHAOS = "chaos"
    POWER = "power cut"
    ACCIDENT = "accident"
    REFUSALS = "refusals"
    PLANTED = "planted"


@dataclass(frozen=True)
class Job:
    """One run. `what` names the accident or the planted bug, `rate` is in events a second."""

    kind: JobKind
    backend: str
    seed: str
    folder: str
    seconds: float = 0.0
    what: str = ""
    rate: float = _BUSY

    @property
    def name(self) -> str:
        """The run in a few words."""
        return " ".join(filter(None, (self.kind, self.what, self.backend)))

    async def run(self) -> RunReport:
        """Run it here."""
        setup = StackSetup(Path(self.folder), self.backend, self.seed, self.rate)
        if self.kind is JobKind.CHAOS:
            return await chaos(replace(setup, web=True), self.seconds, EVERYTHING)
        if self.kind is JobKind.POWER:
            return await chaos(replace(setup, forgetful_disk=True), self.seconds, POWER_CUTS)
        if self.kind is JobKind.REFUSALS:
            return await run_refusals(setup)
        if self.kind is JobKind.ACCIDENT:
            return await run_accident(setup, self.what)
        mutant = MUTANTS[self.what]
        planted = replace(setup, mutant=self.what, forgetful_disk=mutant.schedule.cuts_power)
        return await chaos(planted, mutant.seconds, mutant.schedule)

    async def run_apart(self) -> RunReport:
        """Run it in a process of its own."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "proof.job", json.dumps(asdict(self))),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(self.seconds + _OVERTIME):
                output, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            output = b""
        return self._read(output)

    def _read(self, output: bytes) -> RunReport:
        if output:
            return RunReport(**json.loads(output))
        report = RunReport(self.backend, self.seed)
        report.fail(Stuck("the run ended without a report"))
        return report


def main(arguments: Sequence[str]) -> None:
    """Run the job that the argument describes."""
    fields: dict[str, Any] = json.loads(arguments[0])
    job = Job(kind=JobKind(fields.pop("kind")), **fields)
    print(json.dumps(asyncio.run(job.run()).as_json()))


if __name__ == "__main__":
    main(sys.argv[1:])
