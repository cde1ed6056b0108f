"""What is in deploy/ fits what Turnstream shows and takes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.services import environment
from tests.docs.pages import ROOT, section
from tests.observing.prometheus import Promtool

DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
INSTALLED = "/opt/turnstream/.venv/bin/turnstream"
# What Prometheus and its client library make of the names.
SUFFIXES = ("_bucket", "_count", "_sum")


def dashboard() -> dict[str, Any]:
    return json.loads((DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8"))


def expressions() -> Iterator[str]:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


def shown() -> set[str]:
    """The metrics that there are; tests/observing/test_metrics.py holds the table to the pages."""
    page = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
    told = section(page, "## Metrics")
    return set(re.findall(r"^\| `(turnstream_\w+)` \|", told, re.M))


@pytest.mark.parametrize("name", ["alerts.yml", "grafana-dashboard.json"])
def test_every_metric_that_is_asked_for_is_there(name: str) -> None:
    text = (DEPLOY / name).read_text(encoding="utf-8")
    asked = set(re.findall(r"\bturnstream_\w+", text))
    known = shown()
    with_suffixes = {f"{metric}{suffix}" for metric in known for suffix in SUFFIXES}
    assert asked
    assert asked - known - with_suffixes == set()


def test_prometheus_understands_every_expression_of_the_dashboard(
    promtool: Promtool, tmp_path: Path
) -> None:
    found = [one.replace("$__rate_interval", "5m") for one in expressions()]
    rules = [{"record": f"panel:{number}", "expr": one} for number, one in enumerate(found)]
    path = tmp_path / "rules.json"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    done = promtool.run("check", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """The units as they would be installed, with this checkout's command and instances."""
    command = Path(sys.executable).with_name("turnstream")
    copies: list[Path] = []
    for unit in UNITS:
        copy = tmp_path / unit.name.replace("@.", "@8787.")
        text = unit.read_text(encoding="utf-8")
        copy.write_text(text.replace(INSTALLED, str(command)), encoding="utf-8")
        copies.append(copy)
    return copies


def test_systemd_takes_the_units(units: list[Path]) -> None:
    if shutil.which("systemd-analyze") is None:
        # Only systemd knows its options; a machine without it runs no unit.
        pytest.skip("no systemd-analyze on PATH")
    done = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False
    )
    # It also tells of other units of this machine.
    own = [line for line in done.stderr.splitlines() if "turnstream" in line]
    assert own == []


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_command_of_a_unit_has_these_options(unit: Path) -> None:
    text = unit.read_text(encoding="utf-8")
    [line] = re.findall(rf"^ExecStart={INSTALLED} (.*)$", text, re.M)
    command, *words = line.split()
    told = subprocess.run(
        [sys.executable, "-m", "cli", command, "--help"],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert {word for word in words if word.startswith("--")} <= set(re.findall(r"--[\w-]+", told))


def test_all_units_are_shut_in_alike() -> None:
    texts = [unit.read_text(encoding="utf-8") for unit in UNITS]
    limits = {text.partition("NoNewPrivileges")[2].partition("[Install]")[0] for text in texts}
    assert len(texts) == 4
    assert len(limits) == 1
