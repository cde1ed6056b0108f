"""What every command takes, and what it is given for it: settings and a place to print to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

# Help and --version need neither, and importing them takes most of a second.
if TYPE_CHECKING:
    from cli.output import Output
    from sessions.process.config.loading import Configuration
    from sessions.process.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class CommandContext:
    """Where a command meets the outside: environment, options, output. One for each run."""

    environ: Mapping[str, str]
    workspace: Path | None = None
    config: Path | None = None
    json: bool = False
    no_color: bool = False

    @cached_property
    def settings(self) -> Settings:
        """The settings, the options having the last word; raises ConfigError."""
        return self.configuration.settings

    @cached_property
    def configuration(self) -> Configuration:
        """The same with where they come from and what a person should know; raises ConfigError."""
        from sessions.process.config.loading import load_configuration

        return load_configuration(self.settings_file, self.environ, workspace=self.workspace)

    @cached_property
    def settings_file(self) -> Path | None:
        """`--config`, else TURNSTREAM_CONFIG, else the one in the workspace if there is one."""
        from sessions.process.config.loading import found_in, load_settings

        named = self.environ.get("TURNSTREAM_CONFIG")
        if self.config is not None or named:
            return (self.config or Path(named or "")).absolute()
        workspace = self.workspace or load_settings(None, self.environ).workspace
        return found_in(workspace.absolute())

    @cached_property
    def output(self) -> Output:
        """Where the command prints to."""
        from cli.output import Output

        return Output(json=self.json, no_color=self.no_color)


def pass_context(function: F) -> F:
    """Give the command its CommandContext as the first argument."""
    # click types what comes out as taking none any more, which no F can say.
    return cast("F", click.make_pass_decorator(CommandContext)(function))


def json_option(function: F) -> F:
    """`--json`, for commands that have something to print."""
    option = click.option(
        "--json", is_flag=True, expose_value=False, callback=_remember, help="Print JSON."
    )
    return option(function)


class CliCommand(click.Command):
    """A command with the common options; `example` is shown at the end of its help."""

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_common())
        if example:
            self.epilog = f"\b\nExample:\n  {example}"


class CliGroup(click.Group):
    """A group of such commands; the options may stand before or behind their names."""

    command_class = CliCommand
    group_class = type

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_common())

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they are written down."""
        return list(self.commands)


def _common() -> list[click.Parameter]:
    directory = click.Path(path_type=Path, file_okay=False)
    file = click.Path(path_type=Path, dir_okay=False)
    return [
        click.Option(
            ["--workspace"],
            type=directory,
            expose_value=False,
            callback=_remember,
            help="The directory of all data.  [default: TURNSTREAM_WORKSPACE or ~/.turnstream]",
        ),
        click.Option(
            ["--config"],
            type=file,
            expose_value=False,
            callback=_remember,
            help="A settings file.  [default: turnstream.toml in the workspace, if there is one]",
        ),
        click.Option(
            ["--no-color"],
            is_flag=True,
            expose_value=False,
            callback=_remember,
            help="No colors, as with NO_COLOR.",
        ),
    ]


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Note an option where it was given; one of an outer group stays otherwise."""
    if value:
        setattr(context.ensure_object(CommandContext), parameter.name, value)
