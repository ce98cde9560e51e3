"""Sandboxes: which runtime, what goes in, when they start and stop, and when one is stuck."""
