"""A writer that takes in what did not come by the stream: other programs' sessions, other stores.

Each call is one transaction under the fence, as every write is.
"""

from __future__ import annotations

from collections.abc import Sequence

from sessions.store.engine import imported, restoring
from sessions.store.engine.imported import ImportedMessage, ImportedSession
from sessions.store.engine.pending import drafts_of
from sessions.store.engine.receipts import Receipt
from sessions.store.engine.writer import Writer
from sessions.store.image import Restored, StoreHead, StoreRows


class ReceivingWriter(Writer):
    """See `Receiving` in `store/backend.py`."""

    async def bring_in(
        self,
        sessions: Sequence[ImportedSession],
        messages: Sequence[ImportedMessage],
        receipts: Sequence[Receipt] = (),
    ) -> int:
        """Add sessions and messages that are not there yet, with receipts."""
        async with self.leading(imported.needs_of(sessions, messages)) as transaction:
            # Sessions that are remembered were not asked for, and may be changed here.
            self._decisions.forget()
            work = self._decisions.work()
            work.add_found(transaction.found)
            added = imported.take_in(work, sessions, messages)
            changes = work.taken_changes()
            imported.add_details(changes, messages)
            changes.receipts = [*receipts]
            await transaction.write(drafts_of(changes, self._adapter))
        return added

    async def restore(self, rows: StoreRows) -> Restored:
        """Add rows of another store that are not there yet."""
        async with self.leading(restoring.needs_of(rows)) as transaction:
            self._decisions.forget()
            changes, strangers = restoring.restored(rows, transaction.found)
            added = len(changes.messages)
            await transaction.write(drafts_of(changes, self._adapter))
        return Restored(added, strangers)

    async def become(self, head: StoreHead) -> None:
        """Take over what another store has once, its id too unless that is None."""
        async with self.leading() as transaction:
            await transaction.write((), head.cursor)
            await transaction.become(head)
