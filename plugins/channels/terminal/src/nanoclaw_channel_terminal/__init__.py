"""The terminal as a chat platform, and `ncl chat`."""
