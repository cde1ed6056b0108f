"""`turnstream`: the command. What each part of it does stands in cli/commands."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

import click

from cli.options import CliGroup, CommandContext
from sessions.errors import ConfigError, Retryable, SessionError

# The exit code of a program that Ctrl-C ended, as a shell gives it.
INTERRUPTED: Final = 130

# Name -> where the command is. Each is imported when it is asked for: most need a fraction of
# what `up` needs.
COMMANDS: Final = {
    "up": "services:up",
    "ingest": "services:ingest",
    "worker": "services:worker",
    "api": "services:api",
    "chat": "chat:chat",
    "publish": "publish:publish",
    "redis-url": "publish:redis_url",
    "status": "status:status",
    "sessions": "sessions:sessions",
    "dead": "dead:dead",
    "replies": "replies:replies",
    "token": "token:token",
    "replay": "replay:replay",
    "verify": "verify:verify",
    "export": "transfer:export",
    "import": "transfer:import_",
    "backup": "transfer:backup",
    "restore": "transfer:restore",
    "move": "move:move",
    "doctor": "doctor:doctor",
}


class _Root(CliGroup):
    """The commands, each imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        return getattr(importlib.import_module(f"cli.commands.{module}"), name)


@click.group(cls=_Root, epilog="Start with: turnstream up")
@click.version_option(package_name="turnstream", message="turnstream %(version)s")
def root() -> None:
    """The session store of a multi-channel AI agent: one stream, one writer, one store.

    Exit codes: 0 done, 1 not possible, 2 wrong usage, 75 try again later, 78 wrong configuration.
    """


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run one command and give its exit code; errors are one line on stderr."""
    context = CommandContext(os.environ if environ is None else environ)
    arguments = sys.argv[1:] if argv is None else list(argv)
    _show_everything()
    try:
        return root.main(arguments, "turnstream", standalone_mode=False, obj=context) or 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SessionError as error:
        click.echo(f"turnstream: {error}", err=True)
        return exit_code(error)
    except (click.Abort, KeyboardInterrupt):
        click.echo("turnstream: interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        return _unread()
    except OSError as error:
        click.echo(f"turnstream: {error}", err=True)
        return 1


def _show_everything() -> None:
    """Let a terminal that cannot show a character have its number, not our traceback."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def exit_code(error: SessionError) -> int:
    """The exit code that says what kind of error it is."""
    if isinstance(error, ConfigError):
        return os.EX_CONFIG
    return os.EX_TEMPFAIL if isinstance(error, Retryable) else 1


def _unread() -> int:
    """The reader of our output has gone (`| head`): nothing more is written, at exit neither."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
