-- Version 4: receipts of what came in from elsewhere (an import, a copy of another store).

-- One row for each session of a source, and one (session = '') for all of it. `digest` is empty
-- until all of the source is in.
CREATE TABLE receipts (
    source   TEXT NOT NULL,
    session  TEXT NOT NULL,
    kind     TEXT NOT NULL,
    digest   TEXT NOT NULL,
    size     INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    aside    INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    detail   TEXT NOT NULL,
    PRIMARY KEY (source, session)
) STRICT, WITHOUT ROWID;
CREATE INDEX receipts_by_session ON receipts (session) WHERE session <> '';
