"""What the tests of the documentation look at."""

from __future__ import annotations

import pytest

from tests.docs.pages import ROOT, Pages


@pytest.fixture(scope="session")
def pages() -> Pages:
    """README and docs/ as they are now."""
    return Pages.of(ROOT)
