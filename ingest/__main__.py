"""`python -m ingest`: one ingest process; any number of them may run."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from ingest.app import opened
from sessions.access.tokens import ShownToken
from sessions.errors import ConfigError
from sessions.process.config.loading import load_configuration
from sessions.process.config.summary import announce
from sessions.process.logs import configure_logging, say_why
from sessions.process.private import warn_of_exposure
from sessions.process.settings import Settings
from sessions.process.tracing import configure_tracing
from sessions.web.serving import serve


def main() -> int:
    """Run until stopped; the exit code: 0 after a stop, 78 where the configuration is wrong."""
    parser = argparse.ArgumentParser(prog="python -m ingest", description=__doc__)
    parser.add_argument("--config", type=Path, help="a TOML file with the settings")
    arguments = parser.parse_args()
    try:
        configuration = load_configuration(arguments.config, os.environ)
        settings = configuration.settings
        own = settings.turnstream
        configure_logging("ingest", own.log_level, own.log_format)
        configure_tracing("ingest", os.environ)
        warn_of_exposure(workspace=None, settings_file=configuration.file)
        announce(configuration, os.environ)
        asyncio.run(_run(settings, ShownToken.of(os.environ)))
    except ConfigError as error:
        say_why("ingest", error, os.environ)
        return os.EX_CONFIG
    return 0


async def _run(settings: Settings, token: ShownToken) -> None:
    async with opened(settings, token=token) as app:
        await serve(app, settings.gateway, edge=app.state.edge, environ=os.environ)


if __name__ == "__main__":
    sys.exit(main())
