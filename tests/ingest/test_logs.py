"""What a process' log shows: what our modules say, and of libraries nothing that anybody wrote."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from sessions.errors import StoreBehind
from tests.ingest.logged import logging_as_a_process_does

SECRET = "my PIN is 4711"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with logging_as_a_process_does(caplog):
        yield caplog


@pytest.fixture(params=["telegram.Bot", "httpx", "openai", "mcp.server", "asyncio", "nobody.knows"])
def library(request: pytest.FixtureRequest) -> logging.Logger:
    """The logger of a library, whichever it is."""
    return logging.getLogger(request.param)


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.ERROR, logging.CRITICAL])
def test_what_a_library_was_given_is_never_shown(
    log: pytest.LogCaptureFixture, library: logging.Logger, level: int
):
    library.log(level, "Received data was %r", {"text": SECRET})
    library.log(level, f"Message was: {SECRET}")
    library.log(level, f"Message was: {SECRET}, of %s", "x")
    library.log(level, "\n".join(["several lines", SECRET]))
    library.log(level, ValueError(SECRET))
    try:
        {}[SECRET]
    except KeyError as error:
        library.log(level, "failed", exc_info=error, stack_info=True)
    assert "4711" not in log.text
    assert ("Received data was %r" in log.text) == (level > logging.WARNING)
    assert ("KeyError" in log.text) == (level > logging.WARNING)


def test_a_library_that_sets_a_level_of_its_own_is_not_heard_either(
    log: pytest.LogCaptureFixture,
):
    loud = logging.getLogger("loud")
    loud.setLevel(logging.DEBUG)
    loud.debug("said %s", SECRET)
    loud.warning("warned of %s", SECRET)
    assert "4711" not in log.text
    loud.setLevel(logging.NOTSET)


def test_the_texts_of_our_errors_and_of_the_system_are_shown(log: pytest.LogCaptureFixture):
    for error in (StoreBehind("the worker is behind", lag=3), OSError(28, "No space left")):
        logging.getLogger("ingest.turns.queue").error("a turn failed", exc_info=error)
    assert "StoreBehind: the worker is behind" in log.text
    assert "No space left" in log.text


def test_the_texts_of_other_errors_are_left_out_of_tracebacks(log: pytest.LogCaptureFixture):
    def fail() -> None:
        try:
            int(SECRET)
        except ValueError as error:
            raise ExceptionGroup(SECRET, [error, KeyError(SECRET)]) from error

    with pytest.raises(ExceptionGroup) as caught:
        fail()
    logging.getLogger("ingest.turns.queue").error("a turn failed", exc_info=caught.value)
    assert "4711" not in log.text
    for shown in ("in fail", "ValueError", "ExceptionGroup", "KeyError"):
        assert shown in log.text
