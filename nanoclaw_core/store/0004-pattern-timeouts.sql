CREATE TABLE pattern_timeouts (                         -- engage patterns that exceeded their time limit
    wiring_id TEXT PRIMARY KEY REFERENCES wirings (id) ON DELETE CASCADE,
    pattern TEXT NOT NULL,                              -- the pattern at that time; a changed pattern is not affected
    at TEXT NOT NULL CHECK (at GLOB '????-??-??T??:??:??.???Z')   -- the first time
) STRICT;
