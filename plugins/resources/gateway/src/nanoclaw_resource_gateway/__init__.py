"""The model gateway's host half; it has no other."""
