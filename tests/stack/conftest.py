"""One stack for all tests here; each leaves it as whole as it was."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.stack.stack import Stack

# Seconds for an answer: longer than any that is waited for here.
_PATIENCE = 30.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """They need an engine and take minutes: `make test-stack` runs them."""
    for item in items:
        if item.path.is_relative_to(__file__.rpartition("/")[0]):
            item.add_marker(pytest.mark.stack)
            item.add_marker(pytest.mark.timeout(1500))


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Three ingest, two api and two workers behind a proxy."""
    with Stack.running() as stack:
        yield stack


@pytest.fixture
async def admin(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the one port with the administrator's token."""
    headers = {"Authorization": f"Bearer {stack.token()}"}
    async with httpx.AsyncClient(
        base_url=stack.url, headers=headers, timeout=_PATIENCE, trust_env=False
    ) as client:
        yield client
