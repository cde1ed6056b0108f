"""`doctor`: look at what the system stands on."""

from __future__ import annotations

import click

from cli.doctor import Verdict, examine
from cli.options import Command, Edge, json_option, pass_edge
from cli.system import System
from cli.tasks import run


@click.command(cls=Command, example="turnstream doctor --workspace ~/agent")
@json_option
@pass_edge
def doctor(edge: Edge) -> int:
    """Check that the system can run here.

    It checks Python, SQLite, the workspace, the settings file, the store, Redis and the port. Works
    whether the system runs or not, and changes nothing. The exit code is 1 if a check failed;
    warnings do not change it.
    """
    system = System.find(edge.settings, edge.environ)
    checks = run(examine(system, edge.environ, settings_file=edge.settings_file))
    if edge.output.json:
        names = ("name", "verdict", "text")
        edge.output.data({"checks": [{n: getattr(c, n) for n in names} for c in checks]})
    else:
        rows = ((check.name, check.verdict, check.text) for check in checks)
        edge.output.table(["what", "verdict", "found"], rows)
    return 1 if any(check.verdict is Verdict.FAILED for check in checks) else 0
