"""Every command and option is documented and has help; what the pages tell to type exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from cli.__main__ import root
from cli.options import CommandContext
from tests.docs.pages import ROOT, Pages, section

# On every command, told once for all.
COMMON = {"--help", "--version", "--workspace", "--config", "--no-color", "--json"}
TYPED = re.compile(
    r"^(?:\$ )?(?:\.venv/bin/)?turnstream (.+)$|\$\((?:\.venv/bin/)?turnstream ([^)]+)\)"
)


def commands(group: click.Group = root, *path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command with its name, groups left out."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands())


def option_rows(pages: Pages) -> dict[str, str]:
    """What the table of options says of each command."""
    found: dict[str, str] = {}
    text = section(pages["operating.md"], "## Options of the commands")
    for line in text.splitlines():
        cells = line.split("|")
        if len(cells) > 2:
            for name in re.findall(r"`([^`]+)`", cells[1]):
                found[name] = found.get(name, "") + cells[2]
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(pages: Pages, name: str) -> None:
    group, _, verb = name.partition(" ")
    listed = re.search(rf"^\| `{group}\b([^|]*)\||^\|[^|]*`{group}`", pages["commands.md"], re.M)
    assert listed is not None
    assert verb in (listed[1] or "")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented_and_has_help(pages: Pages, name: str) -> None:
    rows = option_rows(pages)
    for option in COMMANDS[name].params:
        if not isinstance(option, click.Option):
            continue
        long = {text for text in (*option.opts, *option.secondary_opts) if text.startswith("--")}
        missing = {text for text in long - COMMON if text not in rows.get(name, "")}
        assert not missing, f"{name}: {missing} is in no row of docs/operating.md"
        assert option.help, f"{name} {long}"


def test_no_option_is_documented_that_does_not_exist(pages: Pages) -> None:
    for name, text in option_rows(pages).items():
        existing = {opt for p in COMMANDS[name].params for opt in (*p.opts, *p.secondary_opts)}
        assert set(re.findall(r"--[a-z-]+", text)) <= existing, name


def typed(text: str) -> Iterator[list[str]]:
    """The `turnstream …` command lines of a page, as the shell would split them."""
    for line in text.replace("\\\n", " ").splitlines():
        for match in TYPED.finditer(line.strip()):
            command = (match[1] or match[2]).partition(" #")[0]
            if "…" not in command:
                yield shlex.split(command)


def test_the_command_lines_of_the_pages_are_accepted(pages: Pages) -> None:
    seen = 0
    for arguments in typed(pages.everything):
        context: click.Context = click.Context(root)
        command: click.Command = root
        while isinstance(command, click.Group):
            found = command.get_command(context, arguments.pop(0))
            assert found is not None
            command = found
        command.make_context(command.name, arguments, obj=CommandContext({}))
        seen += 1
    assert seen >= 10


def test_the_make_targets_of_the_readme_exist(pages: Pages) -> None:
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"^    make ([a-z]+)", pages["README.md"], re.M)) <= targets
    assert {"run", "test", "check", "bench"} <= targets
