ALTER TABLE deliveries ADD COLUMN deliver_after TEXT;   -- the message's own date; NULL: at once
ALTER TABLE deliveries ADD COLUMN retried_at TEXT;      -- time of an operator's retry
-- 1: it was sent late after an outage, and its thread still needs a notice
ALTER TABLE deliveries ADD COLUMN owes_notice INTEGER NOT NULL DEFAULT 0 CHECK (owes_notice IN (0, 1));
CREATE INDEX deliveries_owing ON deliveries (channel, room) WHERE owes_notice = 1;
