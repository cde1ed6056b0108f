"""Which SQLite we use: the newer one of the wheel pysqlite3 where it is installed, else Python's.

Everything that opens a store takes `sqlite3` from here. Two copies of the library in one process
must not open one file: locks belong to the process, so that neither would see the other's, and a
file that one of them closes loses the locks of the other.
"""

from __future__ import annotations

import sqlite3 as pythons
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    # The wheel has no types. It is built from the source of Python's module.
    import sqlite3
else:
    try:
        from pysqlite3 import dbapi2 as sqlite3
    except ImportError:
        import sqlite3

Connect = Callable[..., sqlite3.Connection]

# Each module has classes of its own; whichever connected, its errors are among these.
ERRORS: Final = (sqlite3.Error, pythons.Error)
# Where the library comes from, for people.
ORIGIN: Final = "Python's own" if sqlite3 is pythons else "from the wheel pysqlite3"


def address(path: Path) -> str:
    """What opens a database for reading only, without making it."""
    return f"file:{quote(str(path))}?mode=ro"


__all__ = ["ERRORS", "ORIGIN", "Connect", "address", "sqlite3"]
