-- The schema of a store, version 1. Times are microseconds since 1970 UTC. Run once, in a schema of
-- PostgreSQL's that is the store's own and is first in the search path.
--
-- Texts compare byte by byte (COLLATE "C"), whatever the database was made with: ranges of ids and
-- names of channels are cut at ASCII characters. A text never holds U+0000, see connection.py.
-- The columns of a table stand in the order of the engine's rows, because rows travel whole: as
-- arrays of the table's own type.

-- One row: which store this is.
CREATE TABLE store (
    store_id        text NOT NULL,
    version         integer NOT NULL,
    letters_dropped bigint NOT NULL DEFAULT 0
);
INSERT INTO store (store_id, version) VALUES (replace(gen_random_uuid()::text, '-', ''), 1);

-- One row: who may write.
CREATE TABLE lease (
    epoch  bigint NOT NULL,
    holder text,
    beat   bigint NOT NULL
);
INSERT INTO lease VALUES (0, NULL, 0);

-- One row: how far the stream is applied, committed with what was applied.
CREATE TABLE stream (
    epoch    bigint NOT NULL,
    ms       bigint NOT NULL,
    n        bigint NOT NULL,
    resolved bigint NOT NULL,
    skipped  bigint NOT NULL,
    added    bigint NOT NULL
);
INSERT INTO stream VALUES (0, 0, 0, 0, 0, 0);

-- A session, or (live = 0) the tombstone of a deleted one.
CREATE TABLE sessions (
    id            bigint PRIMARY KEY,
    key           text COLLATE "C" NOT NULL UNIQUE,
    generation    bigint NOT NULL,
    live          integer NOT NULL,
    ended_at      bigint,
    name          text,
    agent         text COLLATE "C",
    channel       text COLLATE "C",
    room          text,
    sender        text,
    state         text NOT NULL,
    turn          text,
    state_since   bigint,
    created_at    bigint NOT NULL,
    last_activity bigint NOT NULL,
    message_count bigint NOT NULL,
    next_seq      bigint NOT NULL,
    owned_from    bigint NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX sessions_recent ON sessions (last_activity, id) WHERE live = 1;
CREATE INDEX sessions_by_agent ON sessions (agent, last_activity, id) WHERE agent IS NOT NULL;
CREATE INDEX sessions_by_channel ON sessions (channel, last_activity, id) WHERE channel IS NOT NULL;
CREATE INDEX sessions_ended ON sessions (ended_at) WHERE live = 0;

-- The visible messages; `id` grows with the stream. `words` is the text as search sees it: its words
-- without case and accents, each between blanks.
CREATE TABLE messages (
    id         bigint PRIMARY KEY,
    session_id bigint NOT NULL,
    seq        bigint NOT NULL,
    event_id   text NOT NULL,
    role       text NOT NULL,
    turn       text,
    created_at bigint NOT NULL,
    content    text NOT NULL,
    by         text,
    words      text NOT NULL,
    UNIQUE (session_id, seq)
);
CREATE INDEX messages_by_publisher ON messages (by) WHERE by IS NOT NULL;

-- An index entry has at most 2,700 bytes, so words count by their first 200 characters. The whole
-- ones are compared once a message is found. The cost keeps the planner from doing this row by row.
CREATE FUNCTION indexed_words(words text) RETURNS text[] LANGUAGE sql IMMUTABLE COST 10000
RETURN ARRAY(SELECT DISTINCT left(word, 200) FROM string_to_table(trim(words), ' ') AS word);
CREATE INDEX messages_by_word ON messages USING gin (indexed_words(words));

-- Every event id that was seen, with its one outcome; see the schema of sqlite.
CREATE TABLE events (
    event_id   text COLLATE "C" PRIMARY KEY,
    digest     bytea NOT NULL,
    outcome    integer NOT NULL,
    reason     text,
    session_id bigint,
    session    text,
    generation bigint,
    seq        bigint,
    gone       text,
    epoch      bigint NOT NULL,
    ms         bigint NOT NULL,
    n          bigint NOT NULL,
    duplicates bigint NOT NULL,
    detail     text,
    expires_at bigint
);
CREATE INDEX events_expiry ON events (expires_at) WHERE expires_at IS NOT NULL;

-- User appends that a rollback took back before they came.
CREATE TABLE suppressed (
    event_id   text COLLATE "C" NOT NULL,
    session    text COLLATE "C" NOT NULL,
    expires_at bigint NOT NULL,
    PRIMARY KEY (event_id, session)
);

-- Entries that could not be applied; `no` orders them.
CREATE TABLE dead_letters (
    id       text COLLATE "C" PRIMARY KEY,
    reason   text NOT NULL,
    detail   text NOT NULL,
    session  text COLLATE "C",
    event_id text,
    size     bigint NOT NULL,
    sha256   text NOT NULL,
    ms       bigint NOT NULL,
    n        bigint NOT NULL,
    at       bigint NOT NULL,
    payload  bytea NOT NULL,
    by       text COLLATE "C",
    no       bigint GENERATED ALWAYS AS IDENTITY UNIQUE
);
CREATE INDEX dead_letters_by_session ON dead_letters (session) WHERE session IS NOT NULL;
CREATE INDEX dead_letters_by_publisher ON dead_letters (by, no);
CREATE INDEX dead_letters_by_place ON dead_letters (ms, n);
