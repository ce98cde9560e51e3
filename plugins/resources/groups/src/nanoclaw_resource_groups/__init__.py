"""The resource `groups`: agent groups."""
