ALTER TABLE approvals ADD COLUMN used_at TEXT;          -- when it was carried out: a grant counts once
ALTER TABLE approvals ADD COLUMN outcome TEXT;          -- what came of it, an answer frame; NULL until it is known
CREATE INDEX approvals_unfinished ON approvals (decided_at) WHERE status = 'approved' AND outcome IS NULL;
CREATE INDEX wirings_agent_group ON wirings (agent_group_id);
