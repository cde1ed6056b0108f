"""The web process of `turnstream up`: `python -m cli.supervision.web`, all on one port."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping

from api.app import opened
from ingest.app import client_within, joined
from sessions.access.tokens import TokenFile, ensure_admin_token
from sessions.errors import ConfigError
from sessions.process.config.loading import load_configuration
from sessions.process.config.summary import announce
from sessions.process.logs import configure_logging, say_why
from sessions.process.private import warn_of_exposure
from sessions.process.settings import Settings
from sessions.process.tracing import configure_tracing
from sessions.web.serving import serve


def main(environ: Mapping[str, str]) -> int:
    """Serve until stopped; the exit code: 0 after a stop, 78 where the configuration is wrong."""
    try:
        configuration = load_configuration(None, environ)
        settings = configuration.settings
        own = settings.turnstream
        configure_logging("web", own.log_level, own.log_format)
        configure_tracing("web", environ)
        warn_of_exposure(workspace=settings.workspace, settings_file=configuration.file)
        announce(configuration, environ)
        asyncio.run(run(settings, environ))
    except ConfigError as error:
        say_why("web", error, environ)
        return os.EX_CONFIG
    return 0


async def run(settings: Settings, environ: Mapping[str, str]) -> None:
    """Serve the routes of both until a signal or the end of the parent."""
    tokens = TokenFile(settings.workspace)
    token = ensure_admin_token(settings.workspace)
    async with (
        opened(settings) as app,
        client_within(app, token) as api,
        joined(app, settings, tokens=tokens, api=api),
    ):
        await serve(app, settings.gateway, edge=app.state.edge, environ=environ)


if __name__ == "__main__":
    sys.exit(main(os.environ))
