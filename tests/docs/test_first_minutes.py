"""The first ten minutes of the README: its commands are run and print what it shows."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from harness.services import environment
from harness.up import PATIENCE, Up
from tests.docs.pages import ROOT, Pages, section

# The address that the page names; the `up` of this test has a free port.
ADDRESS: Final = "http://127.0.0.1:42617"
_BLOCK: Final = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Printed between two commands: no text of the page or of an answer holds it.
_BETWEEN: Final = "\x1e"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the command `turnstream`, which runs the code of this checkout."""
    home = tmp_path_factory.mktemp("home")
    command = home / "bin" / "turnstream"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m cli "$@"\n')
    command.chmod(0o700)
    return home


@pytest.fixture(scope="module")
def up(home: Path) -> Iterator[Up]:
    """A running system in the workspace that is taken if nobody names one."""
    workspace = home / ".turnstream"
    workspace.mkdir(0o700)
    with Up.running(workspace) as up:
        yield up


# A dozen commands, a second or three each, on a machine that runs other tests as well.
@pytest.mark.timeout(180)
def test_the_commands_print_what_the_readme_shows(pages: Pages, home: Path, up: Up) -> None:
    text = section(pages["README.md"], "## The first ten minutes").replace(ADDRESS, up.url or "")
    blocks = _BLOCK.findall(text)
    assert len(blocks) >= 5
    for block in blocks:
        told = [*_steps(block)]
        printed = _run([command for command, _ in told], home)
        for (command, expected), found in zip(told, printed, strict=True):
            assert _fits(expected, found), f"$ {command}\n{found}"


def test_other_output_than_the_shown_one_is_found() -> None:
    assert _fits("id … 1\n…", "id   7  1\nmore\n\nmore\n")
    assert not _fits("id … 1", "id 7 1\nmore\n")
    assert not _fits("id … 1", "id 7 2\n")


def _steps(block: str) -> Iterator[tuple[str, str]]:
    """Each command of a block, and the output that is shown below it."""
    for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, shown = step.partition("\n")
        yield command, shown


def _run(commands: list[str], home: Path) -> list[str]:
    """Type the commands into one shell; the output of each."""
    path = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
    script = f"\nprintf '{_BETWEEN}'\n".join(commands)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        env=environment(HOME=str(home), PATH=path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.stdout.split(_BETWEEN)


def _fits(shown: str, printed: str) -> bool:
    """Whether the output is the one that is shown: `…` stands for anything, blanks do not count."""
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    text = "".join(f"{line}\n" for line in lines if line)
    pattern = "".join(map(_pattern, filter(str.strip, shown.splitlines())))
    return re.fullmatch(pattern, text) is not None


def _pattern(line: str) -> str:
    if line.strip() == "…":
        return r"(?:.*\n)*"
    return ".*".join(map(re.escape, " ".join(line.split()).split("…"))) + r"\n"
