-- How changes are written: all that was decided is one call. Arrays of text are varchar[], because
-- asyncpg reads and writes text[] by itself (connection.py).

-- A message that goes, and what is kept of its event; sessions that change hands.
CREATE TYPE going AS (message bigint, event_id text, how text, expires_at bigint);
CREATE TYPE handover AS (before text, after text);

-- Writes changes, first what goes, then what comes, and moves the cursor if one is given. It begins
-- with the fence: it fails with TS001 unless the lease has the epoch `held`, and with 40001 if the
-- beat is not the one that was `seen` when the decisions began (null: this transaction has raised it
-- itself). That would be a write of our own on a connection that was given up for lost. The lease's
-- row stays locked to the end of the transaction, so that no other worker can take the lead before.
CREATE FUNCTION write(
    held bigint, seen bigint, goes going[], ended varchar[], purged varchar[], handovers handover[],
    new_sessions sessions[], new_messages messages[], new_events events[],
    new_suppressed suppressed[], new_letters dead_letters[],
    most_letters bigint, most_bytes bigint, moved stream
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    change handover;
BEGIN
    UPDATE lease SET beat = beat + 1 WHERE epoch = held AND beat = coalesce(seen, beat);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'epoch % has ended, or something else was written', held USING ERRCODE =
            CASE WHEN EXISTS (SELECT FROM lease WHERE epoch = held) THEN '40001' ELSE 'TS001' END;
    END IF;
    DELETE FROM messages m USING unnest(goes) g WHERE m.id = g.message;
    UPDATE events e SET gone = g.how, expires_at = g.expires_at
    FROM unnest(goes) g WHERE e.event_id = g.event_id;
    DELETE FROM dead_letters l WHERE l.session = ANY (ended) OR l.id = ANY (purged);
    FOREACH change IN ARRAY handovers LOOP
        UPDATE sessions SET agent = change.after WHERE agent = change.before;
    END LOOP;
    -- Naming columns that stay as they are costs nothing here: no index is touched for them.
    INSERT INTO sessions SELECT * FROM unnest(new_sessions) ON CONFLICT (id) DO UPDATE SET
        (id, key, generation, live, ended_at, name, agent, channel, room, sender, state, turn,
         state_since, created_at, last_activity, message_count, next_seq, owned_from)
        = ROW(EXCLUDED.*);
    INSERT INTO messages SELECT * FROM unnest(new_messages);
    INSERT INTO events SELECT * FROM unnest(new_events) ON CONFLICT (event_id) DO UPDATE SET
        (event_id, digest, outcome, reason, session_id, session, generation, seq, gone, epoch,
         ms, n, duplicates, detail, expires_at) = ROW(EXCLUDED.*);
    INSERT INTO suppressed SELECT * FROM unnest(new_suppressed);
    IF cardinality(new_letters) > 0 THEN
        -- `no` is given in the order of the array.
        INSERT INTO dead_letters OVERRIDING USER VALUE
        SELECT * FROM unnest(new_letters) ON CONFLICT (id) DO NOTHING;
        WITH placed AS (
            SELECT l.no, count(*) OVER newest AS place, sum(length(l.payload)) OVER newest AS bytes
            FROM dead_letters l
            WHERE EXISTS (SELECT FROM unnest(new_letters) n WHERE n.by IS NOT DISTINCT FROM l.by)
            WINDOW newest AS (PARTITION BY l.by ORDER BY l.no DESC)
        ), dropped AS (
            DELETE FROM dead_letters l USING placed p
            WHERE l.no = p.no AND (p.place > most_letters OR p.bytes > most_bytes) RETURNING 1
        )
        UPDATE store SET letters_dropped = letters_dropped + (SELECT count(*) FROM dropped);
    END IF;
    IF moved IS NOT NULL THEN
        UPDATE stream SET (epoch, ms, n, resolved, skipped, added) = ROW(moved.*);
    END IF;
END $$;
