CREATE TABLE usage (                                    -- what sandboxes made the host store, per source and day
    day TEXT NOT NULL CHECK (day GLOB '????-??-??'),    -- UTC
    source TEXT NOT NULL,                               -- 'session <id>', 'room <channel> <room>' or 'instance'
    bytes INTEGER NOT NULL, rows INTEGER NOT NULL,
    PRIMARY KEY (day, source)
) STRICT, WITHOUT ROWID;
