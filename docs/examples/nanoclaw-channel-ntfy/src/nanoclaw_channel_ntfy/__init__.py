"""The ntfy channel's host half; it has no other."""
