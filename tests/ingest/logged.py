"""Logging as a process has it, within a test."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from sessions.process.logs import configure_logging

_OURS: Final = ("api", "cli", "ingest", "routing", "sessions", "worker")


@contextmanager
def logging_as_a_process_does(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """At the lowest level, into `caplog`."""
    root = logging.getLogger()
    handlers, level, factory = root.handlers[:], root.level, logging.getLogRecordFactory()
    configure_logging("test", "debug")
    root.addHandler(caplog.handler)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.setLogRecordFactory(factory)
        for name in _OURS:
            logging.getLogger(name).setLevel(logging.NOTSET)
