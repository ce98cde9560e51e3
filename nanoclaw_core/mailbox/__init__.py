"""The host's side of the session files: writing inbound.db, reading outbound.db, attachments and outgoing files."""
