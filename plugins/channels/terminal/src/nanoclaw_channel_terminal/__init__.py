"""The terminal channel and `ncl chat`."""
