"""`python -m bench` (or `make bench`): measure this machine, print a table or JSON.

Nothing here passes or fails: figures differ from machine to machine, ratios much less.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import corpus, drain, http_reads, latency, reads, sockets


def main() -> None:
    """Run the measurements that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--data", type=Path, help="a .jsonl[.gz] of session, role, content lines")
    parser.add_argument("--sessions", type=int, default=5000, help="made-up dialogues [5000]")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the drain [3]")
    parser.add_argument("--backend", choices=("sqlite", "jsonl"), default="sqlite")
    parser.add_argument("--only", choices=("drain", "latency", "reads", "http-reads", "sockets"))
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    arguments = parser.parse_args()
    figures = asyncio.run(_measure(arguments))
    if arguments.json:
        print(json.dumps(figures, indent=2))
    else:
        _show(figures)


async def _measure(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    figures: dict[str, Any] = {}
    if arguments.only in (None, "drain"):
        turns = corpus.read(arguments.data) if arguments.data else corpus.made(arguments.sessions)
        backlog = list(corpus.interleaved(turns))
        figures["drain"] = [
            await _in_folder(drain.measure, backlog, arguments.backend)
            for _ in range(arguments.rounds)
        ]
    if arguments.only in (None, "latency"):
        figures["latency"] = await _in_folder(latency.measure)
    if arguments.only in (None, "reads"):
        figures["reads"] = await _in_folder(reads.measure)
    if arguments.only in (None, "http-reads"):
        figures["http_reads"] = await _in_folder(http_reads.measure)
    if arguments.only in (None, "sockets"):
        figures["sockets"] = await _in_folder(sockets.measure)
    return _plain(figures)


async def _in_folder(measure: Any, *arguments: Any) -> Any:
    folder = Path(tempfile.mkdtemp(prefix="turnstream-bench-"))
    try:
        return await measure(*arguments, folder)
    finally:
        shutil.rmtree(folder)


def _plain(figures: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The figures as JSON has them."""
    forms: dict[str, tuple[str, Callable[[Any], dict[str, Any]]]] = {
        "drain": ("drain", _of_drains),
        "latency": ("latency_ms", lambda taken: {"p50": taken[0], "p99": taken[1]}),
        "reads": ("reads_ms", _of_reads),
        "http_reads": ("http_requests_per_s", _of_rates),
        "sockets": ("sockets", _of_sockets),
    }
    return {title: form(figures[name]) for name, (title, form) in forms.items() if name in figures}


def _of_drains(runs: Sequence[drain.DrainFigures]) -> dict[str, Any]:
    return {
        "turns": runs[0].turns,
        "worker_rows_per_s": median(run.worker for run in runs),
        "plain_rows_per_s": median(run.plain for run in runs),
        "ratio": median(run.ratio for run in runs),
        "worker_peak_mb": max(run.worker_mb for run in runs),
    }


def _of_reads(found: Sequence[reads.ReadTiming]) -> dict[str, Any]:
    return {
        read.what: {"small": read.small, "large": read.large, "ratio": read.ratio} for read in found
    }


def _of_rates(rates: Sequence[http_reads.ReadRate]) -> dict[str, Any]:
    return {
        f"{rate.what}, {rate.connections} connections": {
            "bare": rate.bare,
            "any": rate.present,
            "default": rate.fresh,
            "any / bare": rate.present_ratio,
            "default / bare": rate.fresh_ratio,
        }
        for rate in rates
    }


def _of_sockets(open_chats: sockets.SocketFigures) -> dict[str, Any]:
    return {
        "message_to_done_p50_ms": open_chats.p50,
        "message_to_done_p99_ms": open_chats.p99,
        "ingest_before_mb": open_chats.before_mb,
        "ingest_550_clients_mb": open_chats.connected_mb,
        "ingest_peak_mb": open_chats.peak_mb,
    }


def _show(figures: dict[str, dict[str, Any]]) -> None:
    console = Console()
    for name, values in figures.items():
        table = Table(title=name.replace("_", " "), title_justify="left")
        nested: dict[str, dict[str, float]] = {
            key: value for key, value in values.items() if isinstance(value, dict)
        }
        if nested:
            columns = list(next(iter(nested.values())))
            table.add_column("what")
            for column in columns:
                table.add_column(column, justify="right")
            for key, row in nested.items():
                table.add_row(key, *(_short(row[column]) for column in columns))
        else:
            for column in ("figure", "value"):
                table.add_column(column, justify="right" if column == "value" else "left")
            for key, value in values.items():
                table.add_row(key.replace("_", " "), f"{value:,.2f}")
        console.print(table)


def _short(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3f}"


if __name__ == "__main__":
    main()
