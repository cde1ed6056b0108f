"""The reference is what the docstrings say now, of everything that is public."""

from __future__ import annotations

import re

import pytest

import sessions
from checks.reference import PAGE, page, told
from checks.shape import Module
from tests.docs.pages import Pages

PLANTED = '''
"""A file."""

Ring = Callable[[str], None]
"""Rings."""
HIDDEN = 1

class Bell(Protocol):
    """A bell."""

    loud: bool = True
    _rope: int

    def __init__(self, name: str, /, *others: str, loud: bool, **more: int) -> None:
        self.name = name

    @property
    def tone(self) -> float:
        """Its tone, in hertz."""
        ...

    def _crack(self) -> None:
        """Not public."""

async def ring(bell: Bell, times: int = 1) -> None:
    """Ring a bell."""
'''
SHOWN = """### `bells`

Defined in [bells.py](../bells.py).

A file.

#### `Ring`

```pyi
Ring = Callable[[str], None]
```

Rings.

#### `Bell`

```pyi
class Bell(Protocol):
    loud: bool = True
    def __init__(name: str, /, *others: str, loud: bool, **more: int) -> None
```

A bell.

```pyi
@property
def tone() -> float
```

Its tone, in hertz.

#### `ring`

```pyi
async def ring(bell: Bell, times: int = 1) -> None
```

Ring a bell."""


def test_the_page_is_up_to_date(pages: Pages) -> None:
    assert pages[PAGE.name] == page(), "run: make reference"


def test_every_public_name_has_an_entry_with_a_text(pages: Pages) -> None:
    entries = pages[PAGE.name].split("\n#### ")
    described = [re.match(r"`(\w+)`\n\n```pyi\n[^`]+```\n\n\w", entry) for entry in entries]
    assert set(sessions.__all__) <= {found[1] for found in described if found}


def test_a_file_is_told_by_its_docstrings() -> None:
    assert told(Module("bells.py", PLANTED)) == SHOWN


def test_only_the_wanted_names_are_told() -> None:
    assert "Bell`" not in told(Module("bells.py", PLANTED), ("ring",))


def test_a_name_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="Gong"):
        told(Module("bells.py", PLANTED), ("ring", "Gong"))
