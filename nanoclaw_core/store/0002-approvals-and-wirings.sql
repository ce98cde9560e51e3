ALTER TABLE approvals ADD COLUMN used_at TEXT;          -- time of its execution: a grant can be used once
ALTER TABLE approvals ADD COLUMN outcome TEXT;          -- the result, an answer frame; NULL until it is known
CREATE INDEX approvals_unfinished ON approvals (decided_at) WHERE status = 'approved' AND outcome IS NULL;
CREATE INDEX wirings_agent_group ON wirings (agent_group_id);
