"""The ntfy channel. It has only a host half."""
