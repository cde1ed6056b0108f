-- Version 3: how often the search index was merged since it was written as a whole.

-- Each merge makes FTS5 open levels that it never closes, so after many the index is written again.
-- Nobody counted before: the next merge of an older store writes it.
ALTER TABLE store ADD COLUMN merges INTEGER NOT NULL DEFAULT 1000000;
