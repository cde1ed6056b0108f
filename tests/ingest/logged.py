"""Logging as a process has it, within a test."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sessions.logs import configure_logging


@contextmanager
def logging_as_a_process_does(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """At the lowest level, into `caplog`."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logging("test", "debug")
    root.addHandler(caplog.handler)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
