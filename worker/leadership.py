"""Who leads: one worker at a time.

The lease row in the store decides, and its epoch is checked inside every transaction, so nothing
here has to be right for the data to be right: this only finds out quickly.
"""

from __future__ import annotations

import os
import socket
from typing import Final

from sessions.store.capabilities import LeaderLock, LocalStore, Lockable

# Seconds between two renewals of an idle leader.
RENEWAL: Final = 2.0
# Seconds without an answer of Redis after which a leader gives the lead up: with the time that a
# command may take to fail, a standby that Redis answers leads within 10 s.
DEAF_AFTER: Final = 4.0
# Seconds in which Redis must answer who would lead.
ANSWERS_WITHIN: Final = 1.0


def lock_of(store: LocalStore | None) -> LeaderLock:
    """The lock by which workers of this store notice a death; one that nobody gets if it has none.

    Without a lock a standby goes by the beat of the lease alone.
    """
    return store.leader_lock() if isinstance(store, Lockable) else _NoLock()


class _NoLock:
    def try_acquire(self) -> bool:
        return False

    def close(self) -> None:
        return


def holder_name() -> str:
    """A name for this process that tells a person where to look."""
    return f"{socket.gethostname()}:{os.getpid()}"
