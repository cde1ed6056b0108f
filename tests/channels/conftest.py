"""One installation for all tests of the suite, and each test once for each channel."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.channels.installation import Installation
from tests.channels.kits import KITS
from tests.channels.kits.base import Kit
from tests.channels.model import NOTE

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests share processes, and so one loop."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    """Running. Nothing of it may become a dead letter, and no text may be in a log."""
    async with Installation.running(tmp_path_factory.mktemp("channels")) as installation:
        yield installation
        assert (await installation.http.get("/api/dead-letters")).json()["dead_letters"] == []
        assert [NOTE.findall(program.log) for program in installation.programs] == [
            [] for _ in installation.programs
        ]


@pytest.fixture(params=[kit.name for kit in KITS])
def kit(request: pytest.FixtureRequest, installation: Installation) -> Kit:
    """Each channel in turn."""
    return installation.kits[request.param]


@pytest.fixture(params=[kit.name for kit in KITS if kit.abilities.delivers])
def delivering(request: pytest.FixtureRequest, installation: Installation) -> Kit:
    """Each channel that ingest sends replies to."""
    return installation.kits[request.param]


@pytest.fixture(params=[kit.name for kit in KITS if not kit.abilities.delivers])
def reading(request: pytest.FixtureRequest, installation: Installation) -> Kit:
    """Each channel whose replies are read by those who asked."""
    return installation.kits[request.param]
