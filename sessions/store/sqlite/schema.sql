-- The schema of a store, version 1. Times are microseconds since 1970 UTC.
-- STRICT refuses a value of the wrong type instead of keeping it as something else.

-- One row: which store this is. `texts` says where the messages' text lies: rows or files;
-- `untidy` is 1 while the search index or the log may still hold words that were erased.
CREATE TABLE store (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    store_id   TEXT NOT NULL,
    texts      TEXT NOT NULL CHECK (texts IN ('rows', 'files')),
    created_at INTEGER NOT NULL,
    untidy     INTEGER NOT NULL DEFAULT 0
) STRICT;

-- One row: who may write. Every writing transaction begins by raising `beat` where the epoch is
-- its own; a worker that finds no such row has lost the lead.
CREATE TABLE lease (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    epoch  INTEGER NOT NULL,
    holder TEXT,
    beat   INTEGER NOT NULL
) STRICT;

-- One row: how far the stream is applied, committed with what was applied.
CREATE TABLE stream (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    epoch    INTEGER NOT NULL,
    ms       INTEGER NOT NULL,
    n        INTEGER NOT NULL,
    resolved INTEGER NOT NULL,
    skipped  INTEGER NOT NULL,
    added    INTEGER NOT NULL
) STRICT;

-- A session, or (live = 0) the tombstone of a deleted one, which keeps its generation.
CREATE TABLE sessions (
    id            INTEGER PRIMARY KEY,
    key           TEXT NOT NULL UNIQUE,
    generation    INTEGER NOT NULL,
    live          INTEGER NOT NULL,
    ended_at      INTEGER,
    name          TEXT,
    agent         TEXT,
    channel       TEXT,
    room          TEXT,
    sender        TEXT,
    state         TEXT NOT NULL,
    turn          TEXT,
    state_since   INTEGER,
    created_at    INTEGER NOT NULL,
    last_activity INTEGER NOT NULL,
    message_count INTEGER NOT NULL,
    next_seq      INTEGER NOT NULL
) STRICT;
-- The lists, each in the order in which it is paged. Partial, so that a session pays only for
-- the lists that it can be in.
CREATE INDEX sessions_recent ON sessions (last_activity, id) WHERE live;
CREATE INDEX sessions_by_agent ON sessions (agent, last_activity, id)
    WHERE live AND agent IS NOT NULL;
CREATE INDEX sessions_by_channel ON sessions (channel, last_activity, id)
    WHERE live AND channel IS NOT NULL;
CREATE INDEX sessions_by_state ON sessions (state, last_activity, id)
    WHERE live AND state <> 'idle';
CREATE INDEX sessions_ended ON sessions (ended_at) WHERE NOT live;

-- The visible messages. `id` grows with the stream, so newest first needs no index of its own.
-- Either `content` is set, or `place` and `size` say where its line lies in the session's file.
CREATE TABLE messages (
    id         INTEGER PRIMARY KEY,
    session_id INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    event_id   TEXT NOT NULL,
    role       TEXT NOT NULL,
    turn       TEXT,
    created_at INTEGER NOT NULL,
    content    TEXT,
    place      INTEGER,
    size       INTEGER
) STRICT;
CREATE UNIQUE INDEX messages_by_session ON messages (session_id, seq);

-- The file of each session, where texts lie in files: its name without suffix, and folded so that
-- no two names are one on any file system. `length` bytes are committed. `state` is 0; 1 while a
-- successor waits to take its place; 2 while it waits to be removed.
CREATE TABLE files (
    session_id INTEGER PRIMARY KEY,
    name       TEXT NOT NULL,
    folded     TEXT NOT NULL UNIQUE,
    length     INTEGER NOT NULL,
    state      INTEGER NOT NULL
) STRICT;
CREATE INDEX files_unsettled ON files (state) WHERE state <> 0;

-- Every event id that was seen, with its one outcome: 1 applied, 2 noop, 3 dead. `seq` is the
-- message that it made; `gone` says how that message went: already_rolled_back, reset or deleted.
-- An id without a visible message is forgotten at `expires_at`. Of a stream id, numbers of more
-- than 63 bits are stored less 2^64.
CREATE TABLE events (
    event_id   TEXT PRIMARY KEY,
    digest     BLOB NOT NULL,
    outcome    INTEGER NOT NULL,
    reason     TEXT,
    session_id INTEGER,
    session    TEXT,
    generation INTEGER,
    seq        INTEGER,
    gone       TEXT,
    epoch      INTEGER NOT NULL,
    ms         INTEGER NOT NULL,
    n          INTEGER NOT NULL,
    duplicates INTEGER NOT NULL DEFAULT 0,
    detail     TEXT,
    expires_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX events_expiry ON events (expires_at) WHERE expires_at IS NOT NULL;

-- User appends that a rollback took back before they came: they have no effect when they do.
CREATE TABLE suppressed (
    event_id   TEXT NOT NULL,
    session    TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (event_id, session)
) STRICT, WITHOUT ROWID;

-- Entries that could not be applied.
CREATE TABLE dead_letters (
    no        INTEGER PRIMARY KEY AUTOINCREMENT,
    id        TEXT NOT NULL UNIQUE,
    reason    TEXT NOT NULL,
    detail    TEXT NOT NULL,
    session   TEXT,
    event_id  TEXT,
    size      INTEGER NOT NULL,
    sha256    TEXT NOT NULL,
    ms        INTEGER NOT NULL,
    n         INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    payload   BLOB NOT NULL
) STRICT;
CREATE INDEX dead_letters_by_session ON dead_letters (session) WHERE session IS NOT NULL;

-- The words of the messages, without the messages: rowid is messages.id. No column sizes, since
-- nothing is ranked by length: newest first is the order.
CREATE VIRTUAL TABLE search USING fts5 (
    body, content = '', columnsize = 0, tokenize = 'unicode61 remove_diacritics 2'
);
