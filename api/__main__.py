"""`python -m api`: the api alone, without the supervisor that restarts it."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from api.app import opened
from sessions.errors import ConfigError
from sessions.process.config.loading import load_configuration
from sessions.process.config.summary import announce
from sessions.process.logs import configure_logging, say_why
from sessions.process.private import warn_of_exposure
from sessions.process.settings import Settings
from sessions.process.tracing import configure_tracing
from sessions.web.serving import serve


def main() -> int:
    """Serve until stopped; the exit code: 0 after a stop, 78 where the configuration is wrong."""
    parser = argparse.ArgumentParser(prog="python -m api", description=__doc__)
    parser.add_argument("--config", type=Path, help="a TOML file with the settings")
    arguments = parser.parse_args()
    try:
        configuration = load_configuration(arguments.config, os.environ)
        settings = configuration.settings
        own = settings.turnstream
        configure_logging("api", own.log_level, own.log_format)
        configure_tracing("api", os.environ)
        warn_of_exposure(workspace=settings.workspace, settings_file=configuration.file)
        announce(configuration, os.environ)
        asyncio.run(run(settings, os.environ))
    except ConfigError as error:
        say_why("api", error, os.environ)
        return os.EX_CONFIG
    return 0


async def run(settings: Settings, environ: Mapping[str, str]) -> None:
    """Serve the api of these settings until a signal or the end of the parent."""
    async with opened(settings) as app:
        await serve(app, settings.gateway, edge=app.state.edge, environ=environ)


if __name__ == "__main__":
    sys.exit(main())
