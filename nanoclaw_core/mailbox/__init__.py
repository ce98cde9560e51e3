"""The host's side of the session files: inbound.db, outbound.db, attachments and outgoing files."""
