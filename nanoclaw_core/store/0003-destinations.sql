CREATE TABLE destinations (                             -- rows are permanent: a name never means another target
    agent_group_id TEXT NOT NULL REFERENCES agent_groups (id) ON DELETE CASCADE,
    name TEXT NOT NULL CHECK (name <> ''),              -- canonical: NFC, lower case
    target_kind TEXT NOT NULL CHECK (target_kind IN ('channel', 'agent')),
    target_id TEXT NOT NULL CHECK (target_id <> ''),    -- a messaging group or an agent group; it may be deleted
    origin TEXT NOT NULL DEFAULT 'auto' CHECK (origin IN ('auto', 'given')),   -- given: an operator chose the name
    created_at TEXT NOT NULL,
    PRIMARY KEY (agent_group_id, name),
    UNIQUE (agent_group_id, target_kind, target_id)
) STRICT;
DROP INDEX wirings_agent_group;
CREATE INDEX wirings_agent_group ON wirings (agent_group_id, created_at);
