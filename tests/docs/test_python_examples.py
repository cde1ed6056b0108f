"""Every Python example of the pages runs as it is printed, and its own tests pass."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

import pytest

from sessions import Position, connect
from tests.docs.pages import ROOT, Pages

# The only part that a run replaces: a reader's Redis is at this address, a test's at another.
ADDRESS: Final = "redis://127.0.0.1:6379/0"
_BLOCK: Final = re.compile(r"^```(?:python|py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _examples() -> Iterator[Any]:
    for path, text in Pages.of(ROOT).texts.items():
        for number, block in enumerate(_BLOCK.findall(text), start=1):
            yield pytest.param(block, id=f"{path.relative_to(ROOT)}-{number}")


EXAMPLES: Final = [*_examples()]


@pytest.fixture
def redis_keys(redis_url: str) -> Iterator[None]:
    """Removes what an example publishes: its prefix is the one that users have."""
    yield
    asyncio.run(_forget(redis_url))


async def _forget(url: str) -> None:
    async with aclosing(connect(url)) as redis:
        await redis.execute_command("DEL", "turnstream:turns")


def run(block: str, redis_url: str) -> dict[str, Any]:
    """Run an example as a program; its names."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(block.replace(ADDRESS, redis_url), "example", "exec"), names)
    return names


@pytest.mark.usefixtures("redis_keys")
@pytest.mark.parametrize("block", EXAMPLES)
def test_an_example_runs_as_it_is_printed(block: str, redis_url: str) -> None:
    names = run(block, redis_url)
    for name, test in names.items():
        if name.startswith("test_"):
            test()


def test_the_examples_pass_the_type_checker(tmp_path: Path) -> None:
    """As strictly as the code that they would become."""
    settings = {"typeCheckingMode": "strict", "extraPaths": [str(ROOT)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    for number, example in enumerate(EXAMPLES):
        (tmp_path / f"example_{number}.py").write_text(example.values[0])
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--project", tmp_path, "--pythonpath", sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.usefixtures("redis_keys")
def test_the_example_of_the_stream_contract_prints_a_position(
    pages: Pages, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    [block] = _BLOCK.findall(pages["stream-contract.md"])
    run(block, redis_url)
    assert Position.parse(capsys.readouterr().out.strip()).event_id


@pytest.mark.parametrize("part", ["Add an agent", "Add a channel", "Add a tool"])
def test_how_to_add_a_part_is_shown_with_a_test(pages: Pages, part: str) -> None:
    told = pages["CONTRIBUTING.md"].partition(f"\n## {part}\n")[2].partition("\n## ")[0]
    assert "\ndef test_" in "".join(_BLOCK.findall(told))
