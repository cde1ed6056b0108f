"""`python -m worker`: one worker process, without the supervisor that restarts it."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
from pathlib import Path
from typing import Final

from sessions.errors import ConfigError, StoreDamaged
from sessions.process.config.loading import load_configuration
from sessions.process.config.summary import announce
from sessions.process.logs import configure_logging, say_why
from sessions.process.private import warn_of_exposure
from sessions.process.tracing import configure_tracing
from worker.app import run

# Objects made before the collector looks for cycles among them: a batch makes some 10,000, hardly
# one in a cycle, and the default of 700 costs a tenth of the time that Python takes for it.
_COLLECT_AFTER: Final = 50_000
# Seconds that a computing thread keeps the interpreter's lock from one that wants it. The event
# loop decodes while SQLite's thread writes, which waits so long after each of its statements;
# with the default of 5 ms, as long as the whole batch takes.
_KEEP_LOCK: Final = 0.0005


def main() -> int:
    """Run until stopped; the exit code.

    0 after a stop, 78 where the configuration is wrong, 65 where the store is damaged.
    """
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    parser.add_argument("--config", type=Path, help="a TOML file with the settings")
    parser.add_argument(
        "--adopt-stream",
        action="store_true",
        help="take over a stream that belongs to another store",
    )
    arguments = parser.parse_args()
    try:
        configuration = load_configuration(arguments.config, os.environ)
        settings = configuration.settings
        own = settings.turnstream
        configure_logging("worker", own.log_level, own.log_format)
        configure_tracing("worker", os.environ)
        warn_of_exposure(workspace=settings.workspace, settings_file=configuration.file)
        announce(configuration, os.environ)
        gc.set_threshold(_COLLECT_AFTER)
        sys.setswitchinterval(_KEEP_LOCK)
        asyncio.run(run(settings, os.environ, adopt=arguments.adopt_stream))
    except ConfigError as error:
        say_why("worker", error, os.environ)
        return os.EX_CONFIG
    except StoreDamaged as error:
        say_why("worker", error, os.environ)
        return os.EX_DATAERR
    return 0


if __name__ == "__main__":
    sys.exit(main())
