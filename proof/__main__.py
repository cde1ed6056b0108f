"""`python -m proof` (or `make proof`): kill everything, and see that nothing is lost.

Chaos on both backends, a Redis that refuses, accidents of the stream, power cuts, and ten planted
bugs that show that the checker sees. Exit code 1 where a promise was broken or a planted bug was
not caught; the command that repeats it is printed, and the folder with stores, histories and logs
is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from proof.accidents import ACCIDENTS
from proof.job import Job, JobKind
from proof.mutants import MUTANTS
from proof.refused_turns import LIMIT
from proof.report import RunReport
from proof.summary import FinishedJob, Summary

BACKENDS: Final = ("sqlite", "jsonl")
# Stacks of one backend side by side: most of a fault is waiting.
_STACKS: Final = 2
# Events a second of a stack, beside the bursts that faults call for.
_RATE: Final = 60.0
# Seconds of power cuts.
_POWER: Final = 12.0
# Seconds that a stack takes to start, to finish and to be judged.
_AROUND: Final = 25.0
# Seconds of chaos that a run has at least, whatever the rest of it took.
_LEAST: Final = 10.0
# Short runs at the same time.
_SHORT_ONES: Final = 3


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for, print figures, and give the exit code."""
    given = _parse(arguments)
    console = Console(stderr=given.json)
    folder = Path(tempfile.mkdtemp(prefix="turnstream-proof-"))
    console.print(f"seed {given.seed}, in {folder}", highlight=False)
    summary = asyncio.run(_run(given, folder, console))
    _tidy(folder, summary)
    if given.json:
        print(json.dumps(summary.as_json(), indent=2))
    else:
        summary.show(console)
    for finished in summary.failed:
        console.print(f"[red]{finished.job.name} failed[/]; it is repeated by:")
        console.print(f"  make proof ARGS='{_command(given, finished.job)}'", soft_wrap=True)
        console.print(f"  stores, histories and logs: {finished.job.folder}", soft_wrap=True)
    return 1 if summary.failed else 0


def _tidy(folder: Path, summary: Summary) -> None:
    """Remove the folders of the runs that went well."""
    for finished in summary.finished:
        if finished not in summary.failed:
            shutil.rmtree(finished.job.folder, ignore_errors=True)
    if not summary.failed:
        folder.rmdir()


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m proof", description=__doc__)
    parser.add_argument("--backend", choices=BACKENDS, help="only this one [both]")
    parser.add_argument("--seed", default=secrets.token_hex(3), help="repeats what a run does")
    parser.add_argument("--minutes", type=float, default=9.0, help="of all in all, about [9]")
    parser.add_argument("--stacks", type=int, default=_STACKS, help="of a backend at a time [2]")
    parser.add_argument("--rate", type=float, default=_RATE, help="events a second and stack")
    parser.add_argument("--planted", action="store_true", help="only the planted bugs")
    parser.add_argument("--chaos", action="store_true", help="only the chaos")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    return parser.parse_args(arguments)


def _command(given: argparse.Namespace, job: Job) -> str:
    """The arguments that do the same again, with nothing else beside it."""
    given_numbers = ("seed", "minutes", "stacks", "rate")
    words = [f"--{name} {getattr(given, name)}" for name in given_numbers]
    words += [f"--backend {job.backend}"]
    words += [f"--{job.kind}"] if job.kind in (JobKind.CHAOS, JobKind.PLANTED) else []
    return " ".join(words)


async def _run(given: argparse.Namespace, folder: Path, console: Console) -> Summary:
    began = time.monotonic()
    summary = Summary()
    backends = (given.backend,) if given.backend else BACKENDS
    if not given.chaos:
        # The longest first.
        short = [*([] if given.planted else _scenes(given, folder)), *_planted(given, folder)]
        wanted = [job for job in short if job.backend in backends]
        await _all(wanted, _SHORT_ONES, summary, console)
    if not given.planted:
        left = given.minutes * 60 - (time.monotonic() - began) - _AROUND
        jobs = _chaos(given, folder, backends, max(_LEAST, left))
        await _all(jobs, len(jobs), summary, console)
    summary.seconds = time.monotonic() - began
    return summary


def _chaos(
    given: argparse.Namespace, folder: Path, backends: Sequence[str], seconds: float
) -> list[Job]:
    return [
        Job(
            JobKind.CHAOS,
            backend,
            f"{given.seed}/{number}",
            str(folder / f"chaos-{backend}-{number}"),
            seconds=seconds,
            rate=given.rate,
        )
        for backend in backends
        for number in range(given.stacks)
    ]


def _scenes(given: argparse.Namespace, folder: Path) -> list[Job]:
    """Refusals, accidents of the stream, and power cuts where there is something to forget."""
    refusals = [
        Job(
            JobKind.REFUSALS,
            backend,
            given.seed,
            str(folder / f"refusals-{backend}"),
            seconds=LIMIT,
        )
        for backend in BACKENDS
    ]
    power = Job(JobKind.POWER, "jsonl", given.seed, str(folder / "power-cut"), seconds=_POWER)
    accidents = [
        Job(
            JobKind.ACCIDENT,
            backend,
            given.seed,
            str(folder / f"{name.replace(' ', '-')}-{backend}"),
            what=name,
        )
        for name in ACCIDENTS
        for backend in BACKENDS
    ]
    return [*refusals, power, *accidents]


def _planted(given: argparse.Namespace, folder: Path) -> list[Job]:
    return [
        Job(
            JobKind.PLANTED,
            mutant.backend,
            given.seed,
            str(folder / f"planted-{name}"),
            seconds=mutant.seconds,
            what=name,
        )
        for name, mutant in MUTANTS.items()
    ]


async def _all(jobs: Sequence[Job], at_a_time: int, summary: Summary, console: Console) -> None:
    """Run the jobs, so many at a time, and note what they found as they end."""
    slots = asyncio.Semaphore(at_a_time)

    async def one(job: Job) -> RunReport:
        async with slots:
            report = await job.run_apart()
        finished = FinishedJob(job, report)
        summary.finished.append(finished)
        console.print(finished.line(), highlight=False, soft_wrap=True)
        return report

    await asyncio.gather(*map(one, jobs))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
