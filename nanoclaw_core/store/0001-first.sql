CREATE TABLE agent_groups (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL CHECK (name <> ''),
    folder TEXT NOT NULL UNIQUE,                    -- below groups/
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE container_configs (
    agent_group_id TEXT PRIMARY KEY REFERENCES agent_groups (id) ON DELETE CASCADE,
    provider TEXT CHECK (provider <> ''),
    model TEXT, effort TEXT, image_tag TEXT, assistant_name TEXT,
    max_messages_per_prompt INTEGER CHECK (max_messages_per_prompt > 0),
    network TEXT CHECK (network IN ('gateway', 'open', 'none')),
    runtime TEXT,
    skills TEXT NOT NULL DEFAULT '"all"' CHECK (json_valid(skills)),
    mcp_servers TEXT NOT NULL DEFAULT '{}' CHECK (json_type(mcp_servers) = 'object'),
    packages_apt TEXT NOT NULL DEFAULT '[]' CHECK (json_type(packages_apt) = 'array'),
    packages_npm TEXT NOT NULL DEFAULT '[]' CHECK (json_type(packages_npm) = 'array'),
    packages_pip TEXT NOT NULL DEFAULT '[]' CHECK (json_type(packages_pip) = 'array'),
    additional_mounts TEXT NOT NULL DEFAULT '[]' CHECK (json_type(additional_mounts) = 'array'),
    cli_scope TEXT NOT NULL DEFAULT 'group' CHECK (cli_scope IN ('disabled', 'group', 'global')),
    limits TEXT NOT NULL DEFAULT '{}' CHECK (json_type(limits) = 'object'),
    updated_at TEXT NOT NULL
) STRICT;

CREATE TABLE messaging_groups (
    id TEXT PRIMARY KEY,
    channel TEXT NOT NULL, room TEXT NOT NULL,
    name TEXT,                                      -- the chat's latest name on its platform
    is_group INTEGER NOT NULL CHECK (is_group IN (0, 1)),
    created_at TEXT NOT NULL,
    UNIQUE (channel, room)
) STRICT;

CREATE TABLE wirings (
    id TEXT PRIMARY KEY,
    messaging_group_id TEXT NOT NULL REFERENCES messaging_groups (id) ON DELETE CASCADE,
    agent_group_id TEXT NOT NULL REFERENCES agent_groups (id) ON DELETE CASCADE,
    engage_mode TEXT NOT NULL DEFAULT 'mention' CHECK (engage_mode IN ('pattern', 'mention', 'mention-sticky')),
    engage_pattern TEXT,                            -- a regular expression; only set in mode pattern
    ignored_policy TEXT NOT NULL DEFAULT 'drop' CHECK (ignored_policy IN ('drop', 'accumulate')),
    session_mode TEXT NOT NULL DEFAULT 'shared' CHECK (session_mode IN ('shared', 'per-thread', 'agent-shared')),
    priority INTEGER NOT NULL DEFAULT 0,            -- higher ones are served first
    created_at TEXT NOT NULL,
    UNIQUE (messaging_group_id, agent_group_id),
    CHECK ((engage_mode = 'pattern') = (engage_pattern IS NOT NULL))
) STRICT;

CREATE TABLE sticky_threads (                       -- threads in which an agent stays engaged after a mention
    wiring_id TEXT NOT NULL REFERENCES wirings (id) ON DELETE CASCADE,
    thread TEXT NOT NULL,                           -- '' is the room itself
    since TEXT NOT NULL,
    PRIMARY KEY (wiring_id, thread)
) STRICT;

CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    agent_group_id TEXT NOT NULL REFERENCES agent_groups (id),
    messaging_group_id TEXT REFERENCES messaging_groups (id),
    thread TEXT CHECK (thread <> ''),
    conversation TEXT NOT NULL,                     -- the key: room:<id>, thread:<id>:<thread>, agent
    provider TEXT CHECK (provider <> ''),           -- overrides the group's
    status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'closed')),
    outbound_seq INTEGER NOT NULL DEFAULT 0,        -- sequence number of the last imported row
    acknowledged_revision INTEGER NOT NULL DEFAULT 0,
    due_at TEXT,                                    -- time when it next needs a sandbox; NULL: no message waits
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX sessions_due ON sessions (due_at) WHERE due_at IS NOT NULL;
CREATE UNIQUE INDEX sessions_conversation ON sessions (agent_group_id, conversation) WHERE status = 'active';

CREATE TABLE users (
    id TEXT PRIMARY KEY,                            -- <channel>:<the platform's id>
    channel TEXT NOT NULL,
    display_name TEXT,
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE deliveries (
    id TEXT PRIMARY KEY,                            -- also the idempotency key for the platform
    position INTEGER NOT NULL UNIQUE,               -- the order within a room
    session_id TEXT REFERENCES sessions (id),       -- NULL: a message of the host itself
    message_id TEXT,                                -- messages_out.id, the folder of its files
    message_seq INTEGER,
    channel TEXT NOT NULL, room TEXT NOT NULL, thread TEXT,
    kind TEXT NOT NULL CHECK (kind IN ('chat', 'card')),
    content TEXT NOT NULL,
    in_reply_to TEXT,                               -- a platform message id
    status TEXT NOT NULL CHECK (status IN ('queued', 'sending', 'sent', 'failed')),
    attempts INTEGER NOT NULL DEFAULT 0,
    next_try_at TEXT,                               -- NULL: at once
    platform_message_id TEXT,
    last_error TEXT,
    correlation_id TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    UNIQUE (session_id, message_seq)
) STRICT;
CREATE INDEX deliveries_open ON deliveries (position) WHERE status IN ('queued', 'sending');

CREATE TABLE dropped_messages (                     -- one row per room, sender and reason, with a count
    channel TEXT NOT NULL, room TEXT NOT NULL,
    sender TEXT NOT NULL,                           -- '' if the platform does not name one
    sender_name TEXT,
    reason TEXT NOT NULL,
    agent_group_id TEXT NOT NULL DEFAULT '',        -- the addressed agent; '' if there was none
    count INTEGER NOT NULL DEFAULT 1,
    first_at TEXT NOT NULL, last_at TEXT NOT NULL,
    PRIMARY KEY (channel, room, sender, reason, agent_group_id)
) STRICT;

CREATE TABLE approvals (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('verb', 'action')),
    name TEXT NOT NULL,
    arguments TEXT NOT NULL CHECK (json_valid(arguments)),   -- the exact request
    session_id TEXT REFERENCES sessions (id),
    agent_group_id TEXT,
    status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'approved', 'rejected', 'expired')),
    created_at TEXT NOT NULL, expires_at TEXT NOT NULL,
    decided_by TEXT, decided_at TEXT
) STRICT;
CREATE INDEX approvals_pending ON approvals (expires_at) WHERE status = 'pending';
