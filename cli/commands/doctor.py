"""`doctor`: look at what the system stands on."""

from __future__ import annotations

import click

from cli.doctor import CheckStatus, examine
from cli.options import CliCommand, CommandContext, json_option, pass_context
from cli.system import TargetSystem
from cli.tasks import run


@click.command(cls=CliCommand, example="turnstream doctor --workspace ~/agent")
@json_option
@pass_context
def doctor(context: CommandContext) -> int:
    """Check that the system can run here.

    It checks Python, SQLite, the workspace, the settings file, the store, Redis, the port, and what
    Slack and Discord say of the tokens of their channels. Works whether the system runs or not, and
    changes nothing. The exit code is 1 if a check failed; warnings do not change it.
    """
    system = TargetSystem.find(context.settings, context.environ)
    read = context.configuration
    checks = run(examine(system, context.environ, settings_file=read.file, notices=read.notices))
    if context.output.json:
        names = ("name", "verdict", "text")
        context.output.data({"checks": [{n: getattr(c, n) for n in names} for c in checks]})
    else:
        rows = ((check.name, check.verdict, check.text) for check in checks)
        context.output.table(["what", "verdict", "found"], rows)
    return 1 if any(check.verdict is CheckStatus.FAILED for check in checks) else 0
