"""What only some stores can do beside `SessionBackend`: each ability is a Protocol of its own.

A tool asks `isinstance` of what `factory.local_store` gives it, and says what it cannot do if the
store cannot. A store on a server has none of these.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

# Examples that are kept of each kind of fault.
EXAMPLES: Final = 20


@dataclass
class Health:
    """What was looked at, and each kind of fault with its number and some examples."""

    sessions: int = 0
    messages: int = 0
    events: int = 0
    faults: dict[str, int] = field(default_factory=dict[str, int])
    examples: dict[str, list[list[Any]]] = field(default_factory=dict[str, list[list[Any]]])

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not any(self.faults.values())

    def add(self, kind: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Count the rows that show a kind of fault, keeping the first ones."""
        remaining = iter(rows)
        examples = [list(row) for row in islice(remaining, EXAMPLES)]
        self.faults[kind] = len(examples) + sum(1 for _ in remaining)
        if examples:
            self.examples[kind] = examples


@dataclass
class Rebuilt:
    """What was found. `remembered` tells whether the old index could be read.

    `skipped` names lines that hold no message, as `file:line`, `left` files that were not taken in,
    each with the reason; both stay as they are. `unowned` names sessions whose owner is in doubt.
    """

    sessions: int = 0
    messages: int = 0
    skipped: list[str] = field(default_factory=list[str])
    left: list[str] = field(default_factory=list[str])
    unowned: list[str] = field(default_factory=list[str])
    remembered: bool = False


class Mark(NamedTuple):
    """Where a store was moved: `backend` has it now, `at` is when it was moved, in microseconds.

    `place` is the directory, beside the old store, that keeps the files that it had.
    """

    backend: str
    at: int
    place: str


class LocalStore(Protocol):
    """A store that lies in the workspace. Looking at it changes nothing and needs no worker."""

    @property
    def name(self) -> str:
        """The backend's name in the settings."""
        ...

    @property
    def path(self) -> Path:
        """The file that holds it, or its index; it may not be there yet."""
        ...

    def store_id(self) -> str | None:
        """The store's id; None if there is no store, or it was moved. Raises StoreUnavailable."""
        ...

    def schema_version(self) -> int | None:
        """The version of its schema; None as with the id. Raises StoreUnavailable."""
        ...


class Library(NamedTuple):
    """A database library: its version, and the one from which several may write at a time."""

    version: str
    fixed: str
    is_fixed: bool


@runtime_checkable
class Embedded(Protocol):
    """A store whose database runs inside each process that opens it."""

    def library(self) -> Library:
        """The library that this process would use."""
        ...


@runtime_checkable
class SelfChecking(Protocol):
    """A store that can be checked against itself."""

    def check(self) -> Health:
        """Check everything, as of one moment; a worker may go on writing.

        Raises SessionError if there is no store, or a broken one.
        """
        ...


@runtime_checkable
class Rebuildable(Protocol):
    """A store whose index can be made again from what it indexes."""

    async def rebuild(self) -> Rebuilt:
        """Make the index again; the old one is kept beside it.

        Raises ConfigError while a worker leads, or if there is nothing to make it from.
        """
        ...


class LeaderLock(Protocol):
    """A lock that its holder keeps for life: a process that gets it knows that the holder died."""

    def try_acquire(self) -> bool:
        """Try to get it, without waiting; True also if it is ours already."""
        ...

    def close(self) -> None:
        """Let it go; does nothing if it is not ours."""
        ...


@runtime_checkable
class Lockable(Protocol):
    """A store whose leader holds a lock that the kernel lets go when the process dies."""

    def leader_lock(self) -> LeaderLock:
        """The lock, not taken yet; each call gives another one, so that two can compete."""
        ...


@runtime_checkable
class Movable(LocalStore, Lockable, Protocol):
    """A store that can be moved to another backend, or take in one that is moved.

    One that is moved here is made under another name, as the incoming store; it takes its place
    when it is whole. All that is done here may be done again after it was cut short. It raises
    StoreUnavailable, and nothing was done by halves.
    """

    def mark(self) -> Mark | None:
        """Where the store was moved; None if it was not, or there is none."""
        ...

    def incoming(self) -> LocalStore:
        """The store that is made to take this one's place; it may not be there."""
        ...

    def remove_incoming(self) -> None:
        """Remove the incoming store with its files; nothing happens if there is none."""
        ...

    def install(self) -> None:
        """Let the incoming store take its place; nothing happens if there is none."""
        ...

    def retire(self) -> None:
        """Put a marked store aside, into its mark's place, and leave a tombstone behind.

        StoreUnavailable if somebody has been reading the store for long.
        """
        ...

    def is_empty(self) -> bool:
        """Whether it holds no session, dead or alive, no event and no dead letter."""
        ...

    def missing_in(self, other: LocalStore) -> int:
        """How many of its live sessions the other store does not know, not even as deleted."""
        ...

    def differing_from(self, other: LocalStore) -> int:
        """How many of its sessions are not in the other store, or are not the same there.

        Times are not compared: two workers may give the same event different ones.
        """
        ...
