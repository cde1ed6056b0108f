-- Version 2: events have a publisher, and dead letters are bounded.

-- The agent whose token published the message. Ids of such events end with `@` and 16 hex digits of
-- the publisher's sha256, wherever ids stand (events, messages, suppressed), and so does the `turn`
-- of a message if it names such an event.
ALTER TABLE messages ADD COLUMN by TEXT;
CREATE INDEX messages_by_publisher ON messages (by) WHERE by IS NOT NULL;

-- The generation that its present owner opened: what happened before is none of its business.
ALTER TABLE sessions ADD COLUMN owned_from INTEGER NOT NULL DEFAULT 1;

-- `no` orders the letters of a publisher, of which the newest are kept.
ALTER TABLE dead_letters ADD COLUMN by TEXT;
CREATE INDEX dead_letters_by_publisher ON dead_letters (by, no);
CREATE INDEX dead_letters_by_place ON dead_letters (ms, n);
ALTER TABLE store ADD COLUMN letters_dropped INTEGER NOT NULL DEFAULT 0;

-- A worker of version 1 that still runs must not lead a store that it does not understand: it does
-- not know that `proof` has to follow `epoch`.
ALTER TABLE lease ADD COLUMN proof INTEGER NOT NULL DEFAULT 0;
UPDATE lease SET proof = epoch;
CREATE TRIGGER lease_of_this_version BEFORE UPDATE OF epoch ON lease WHEN NEW.proof <> NEW.epoch
BEGIN
    SELECT RAISE(ABORT, 'a newer Turnstream has upgraded this store; run that one');
END;
