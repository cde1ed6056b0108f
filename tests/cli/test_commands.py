"""What all commands have in common: help, options, errors of one line."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import cast

import click
import pytest
from rich.console import Console

from cli.__main__ import COMMANDS, main, root
from cli.options import CommandContext
from cli.output import Moment, Output, counted, printable
from cli.supervision.running import UpRecord, WorkspaceLock
from cli.system import TargetSystem
from harness.services import ROOT
from sessions.process.config.loading import SETTINGS_FILE


def every_command(group: click.Group = root, *path: str) -> Iterator[tuple[str, ...]]:
    """The names of all commands, groups included."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from every_command(command, *path, name)


@pytest.mark.parametrize("path", [*every_command()], ids=" ".join)
def test_every_command_says_what_it_does(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """With an example that begins as one would type it, or the commands that it has."""
    assert main([*path, "--help"], {}) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: turnstream {' '.join(path)}")
    assert "--workspace" in text
    assert f"turnstream {' '.join(path)}" in text.split("Example:")[-1] or "Commands:" in text


def test_the_commands_of_the_design_are_there() -> None:
    """Under their names."""
    services = "up ingest worker api"
    rest = "chat publish redis-url status sessions dead replies token replay verify doctor"
    moving = "export import backup restore move"
    assert set(COMMANDS) == {*services.split(), *rest.split(), *moving.split()}
    names = {" ".join(path) for path in every_command()}
    verbs = "list show tail search send reset delete rename"
    assert {f"sessions {verb}" for verb in verbs.split()} <= names
    assert {f"dead {verb}" for verb in ("list", "show", "replay", "purge")} <= names
    assert {f"replies {verb}" for verb in ("list", "retry", "drop")} <= names
    assert {f"token {verb}" for verb in ("list", "create", "revoke")} <= names


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["nonsense"], 2),
        (["up", "--port", "70000"], 2),
        (["sessions", "list", "--state", "happy"], 2),
        (["--config", "/nonexistent.toml", "status"], os.EX_CONFIG),
        (["--workspace", "/nonexistent", "redis-url"], os.EX_CONFIG),
    ],
)
def test_a_wrong_use_is_told_without_a_traceback(
    argv: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr, with an exit code that says what kind it is."""
    assert main(argv, {}) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    assert printed.err.strip()


LONG_KEY = "webhook_shop_ada.smith@example.org_thread-0000123-0123456789abcdef"


def shown_at_80_columns(titles: Sequence[str], *rows: Sequence[object]) -> list[str]:
    """The lines of a table on a terminal of the usual width."""
    output = Output()
    output.console = Console(
        file=StringIO(), force_terminal=True, width=80, soft_wrap=True, color_system=None
    )
    output.table(titles, rows)
    return cast("StringIO", output.console.file).getvalue().splitlines()


def test_a_key_that_one_must_paste_is_never_broken() -> None:
    """It has a line of its own if the other columns leave it too little room."""
    titles = ("session", "agent", "channel", "last activity")
    time = Moment("2026-11-28T22:36:59.369158+00:00")
    assert shown_at_80_columns(
        titles, ("gw_1", "main", "web", time), (LONG_KEY, "b", "c", time)
    ) == [
        "session",
        "  agent  channel  last activity",
        "gw_1",
        "  main   web      2026-11-28 22:36",
        LONG_KEY,
        "  b      c        2026-11-28 22:36",
    ]


def test_short_keys_stand_in_columns_and_a_long_end_goes_on_below() -> None:
    """As a check of `doctor` whose finding is long."""
    lines = shown_at_80_columns(("what", "found"), ("python", "x" * 100), ("disk", "free"))
    assert [line.rstrip() for line in lines] == [
        "what    found",
        f"python  {'x' * 72}",
        f"        {'x' * 28}",
        "disk    free",
    ]


def test_a_time_is_whole_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """Only a person is spared the microseconds."""
    Output().table(["at"], [[Moment("2026-11-28T22:36:59.369158+00:00")]])
    assert capsys.readouterr().out == "at\n2026-11-28T22:36:59.369158+00:00\n"


def test_the_version_needs_no_settings() -> None:
    """It, completion and usage errors are printed before anything large is imported."""
    code = (
        "import sys, cli.__main__ as c; c.main(['--version'], {}); "
        "print(sorted({'pydantic', 'rich', 'redis', 'httpx'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """As the package has it."""
    assert main(["--version"], {}) == 0
    assert capsys.readouterr().out.startswith("turnstream ")


def test_an_unknown_setting_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Where it stands in the environment too."""
    assert main(["status"], {"TURNSTREAM_COLOUR": "blue", "HOME": "/nonexistent"}) == os.EX_CONFIG
    assert "colour" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        ["--workspace", "{}", "token", "list"],
        ["token", "--workspace", "{}", "list"],
        ["token", "list", "--workspace", "{}"],
    ],
)
def test_options_may_stand_before_and_behind_the_command(
    argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody has to remember which group an option belongs to."""
    (tmp_path / "tokens.json").write_text('{"tokens": 1}')
    assert main([word.format(tmp_path) for word in argv], {}) == os.EX_CONFIG
    assert str(tmp_path) in capsys.readouterr().err


def test_the_settings_file_of_the_workspace_is_read(tmp_path: Path) -> None:
    """Without being named; one that is named comes first."""
    (tmp_path / SETTINGS_FILE).write_text("[gateway]\nport = 1234\n")
    other = tmp_path / "other.toml"
    other.write_text("[gateway]\nport = 4321\n")
    assert CommandContext({}, workspace=tmp_path).settings.gateway.port == 1234
    assert CommandContext({}, workspace=tmp_path, config=other).settings.gateway.port == 4321
    assert CommandContext({"TURNSTREAM_PORT": "99"}, workspace=tmp_path).settings.gateway.port == 99


def record(workspace: Path, pid: int) -> UpRecord:
    """What `up` writes when it is ready."""
    return UpRecord(
        pid=pid,
        url="http://127.0.0.1:1",
        redis_url="redis://127.0.0.1:1/0",
        workspace=str(workspace),
        backend="jsonl",
        prefix="other:",
        started_at="2026-01-01T00:00:00+00:00",
    )


def test_commands_take_backend_and_prefix_from_what_runs(tmp_path: Path) -> None:
    """A user who looks need not know how it was started."""
    with held(tmp_path):
        record(tmp_path, os.getpid()).write()
        settings = TargetSystem.find(CommandContext({}, workspace=tmp_path).settings, {}).settings
    assert (settings.channels.session_backend, settings.stream_key) == ("jsonl", "other:turns")


@contextmanager
def held(workspace: Path, pid: int | None = None) -> Iterator[None]:
    """The lock, as the `up` of that process id holds it."""
    with WorkspaceLock.held(workspace) as lock:
        lock.describe(pid=pid or os.getpid())
        yield


def test_the_record_of_a_process_without_the_lock_counts_for_nothing(tmp_path: Path) -> None:
    """A killed `up` leaves its record behind, and another process may have its id since."""
    written = record(tmp_path, os.getpid())
    written.write()
    assert UpRecord.find(tmp_path) is None
    with held(tmp_path):
        assert UpRecord.find(tmp_path) == written
    assert UpRecord.find(tmp_path) is None


def test_the_record_of_the_former_one_counts_for_nothing(tmp_path: Path) -> None:
    """While the next `up` starts, which has the lock but is not ready yet."""
    record(tmp_path, 4711).write()
    with held(tmp_path, pid=4712):
        assert UpRecord.find(tmp_path) is None


def test_a_look_at_the_lock_keeps_no_up_from_starting(tmp_path: Path) -> None:
    """Commands look all the time."""
    (tmp_path / "up.lock").touch()
    looking = os.open(tmp_path / "up.lock", os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    closing = threading.Timer(0.05, os.close, [looking])
    closing.start()
    with held(tmp_path):
        closing.join()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": "x", "other": 2}'])
def test_a_record_that_is_none_counts_for_nothing(tmp_path: Path, text: str) -> None:
    """Whatever stands in the file."""
    (tmp_path / "up.json").write_text(text)
    assert UpRecord.find(tmp_path) is None


def test_rows_in_a_pipe_are_lines_of_fields(capsys: pytest.CaptureFixture[str]) -> None:
    """Line breaks and tabs inside of a field are spelled out."""
    Output().table(["a", "b"], [["x\ny", None], [1234, "t\tt"]])
    assert capsys.readouterr().out == "a\tb\nx\\ny\t-\n1,234\tt\\tt\n"


def test_numbers_come_with_their_noun() -> None:
    """In its right form."""
    texts = [counted(1, "turn"), counted(2, "turn"), counted(1, "entry"), counted(1200, "entry")]
    assert texts == ["1 turn", "2 turns", "1 entry", "1,200 entries"]


def test_what_commands_a_terminal_is_spelled_out() -> None:
    """Letters of all scripts and emoji are left alone."""
    assert printable("\x1b]0;x\x07 \x9b \u202eabc") == "\\x1b]0;x\\x07 \\x9b \\u202eabc"
    assert printable("héllo ☕ 日本\nnext") == "héllo ☕ 日本\nnext"


def test_every_command_is_in_the_docs() -> None:
    """By its name."""
    text = (ROOT / "docs" / "commands.md").read_text()
    assert [name for name in COMMANDS if f"`{name}" not in text] == []
