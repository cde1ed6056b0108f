"""Prometheus' own tools: from PATH, else out of Debian's package, which is not installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

# Seconds for the package, 19 MB.
_DOWNLOAD: Final = 120


def prometheus_tools(folder: Path) -> Path:
    """The directory with promtool and prometheus; skips the test if they cannot be had."""
    found = shutil.which("promtool")
    if found is not None and shutil.which("prometheus") is not None:
        return Path(found).parent
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        # Promtool checks the rules; on a system that is not Debian's only its own package has it.
        pytest.skip("no promtool on PATH, and no apt-get that could fetch Debian's package of it")
    folder.mkdir(parents=True, exist_ok=True)
    got = _run("apt-get", "download", "prometheus", cwd=folder)
    packages = [*folder.glob("prometheus_*.deb")]
    if not packages:
        # No network, as on a plane: what needs no promtool is tested all the same.
        pytest.skip(f"no promtool on PATH, and Debian's package cannot be fetched: {got.stderr}")
    _run("dpkg", "-x", str(packages[0]), str(folder), cwd=folder)
    return folder / "usr/bin"


def _run(*argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, cwd=cwd, capture_output=True, text=True, timeout=_DOWNLOAD, check=False
    )


class Promtool:
    """`promtool`, as operators use it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def run(self, *arguments: str, told: str = "") -> subprocess.CompletedProcess[str]:
        """Run it with this on its input."""
        return subprocess.run(
            [self.directory / "promtool", *arguments],
            input=told,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def accepts(self, page: str) -> str:
        """Have Prometheus' parser read a page of metrics; what it or its linter minds."""
        done = self.run("check", "metrics", told=page)
        return done.stdout + done.stderr if done.returncode else ""
