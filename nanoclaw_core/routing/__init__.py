"""Routing: engagement, admission, and the session of a message."""
