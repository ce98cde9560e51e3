CREATE TABLE accepted_messages (                        -- kept for some days: a platform may offer a message again
    agent_group_id TEXT NOT NULL REFERENCES agent_groups (id) ON DELETE CASCADE,
    message_id TEXT NOT NULL,                           -- messages_in.id: a hash of channel, room and the platform's id
    session_id TEXT NOT NULL,                           -- its session, which may be closed or deleted
    channel TEXT NOT NULL, room TEXT NOT NULL, thread TEXT,
    correlation_id TEXT NOT NULL,
    accepted_at TEXT NOT NULL CHECK (accepted_at GLOB '????-??-??T??:??:??.???Z'),
    PRIMARY KEY (agent_group_id, message_id)
) STRICT;
CREATE INDEX accepted_messages_at ON accepted_messages (accepted_at);
